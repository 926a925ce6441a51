"""The life cycle as a state machine on a real database: whatever people, time and detectors do, in whatever order.

``STILLWATCH_MACHINE_STEPS`` sets the length: a few hundred by default, 10,000 by ``make test-lifecycle``.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.adapters.postgres import audit
from services.adapters.postgres.alerts import find_alert
from services.adapters.postgres.entitlements import EntitledAlreadyError, Grant, add_entitlement, revoke_entitlement
from services.adapters.postgres.lifecycle import acts, claims, undo
from services.adapters.postgres.lifecycle.standing import (
    Act,
    Assign,
    Claim,
    Close,
    Comment,
    Escalate,
    Judge,
    Release,
    Snooze,
    Tag,
    Wake,
)
from services.adapters.postgres.lifecycle_tables import NoteRow, SnoozeRow
from services.adapters.postgres.partitions import ensure_ahead
from services.adapters.postgres.tables import AlertRow, LabelRow
from services.errors import StillwatchError
from tests.integration.database.samples import NOW, make_alert, store

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

pytestmark = [pytest.mark.integration, pytest.mark.timeout(7200)]
STEPS = int(os.environ.get("STILLWATCH_MACHINE_STEPS", "300"))
ALERTS = (1, 2, 3)
PEOPLE = ("ana", "tom", "lea")


class Machine:
    """Random walks over three alerts. What it remembers is what must never be lost."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine = engine
        self.chance = random.Random(seed)  # noqa: S311 - a walk that can be walked again
        self.now = NOW
        self.revisions = dict.fromkeys(ALERTS, 1)
        self.done: list[str] = []
        self.notes: dict[str, str] = {}
        self.labels: dict[str, tuple[str, str]] = {}
        self.snoozes: dict[str, Any] = {}
        self.grants: dict[int, str] = {}
        self.counts: Counter[str] = Counter()

    def step(self) -> None:
        """Do one thing, then look whether anything was lost."""
        name = self.chance.choice(["act"] * 6 + ["undo", "undo", "evidence", "evidence", "time", "next", "entitle"])
        number = self.chance.choice(ALERTS)
        before = self.row(number)
        try:
            getattr(self, f"_{name}")(number)
            self.counts[name] += 1
        except StillwatchError as error:
            self.counts[f"{name}: {type(error).__name__}"] += 1
            after = self.row(number)
            assert (after.version, after.state) == (before.version, before.state), "a refusal wrote something"
        self._nothing_is_lost()

    def row(self, number: int) -> AlertRow:
        with Session(self.engine) as session:
            return find_alert(session, "acme", make_alert(number).alert_id)

    def _by(self) -> acts.By:
        actor = self.chance.choice(PEOPLE)
        return acts.By(tenant="acme", actor=actor, now=self.now, oversees=actor == "lea")

    def _wish(self) -> Act:
        kinds: list[Act] = [
            Claim(),
            Release(),
            Assign(assignee=self.chance.choice([None, *PEOPLE])),
            Judge(
                verdict=self.chance.choice(["true_positive", "false_positive", "benign", "insufficient_data"]),
                reason="x",
            ),
            Snooze(until=self.now + timedelta(hours=self.chance.randint(1, 48)), reason="x"),
            Wake(),
            Close(reason="x"),
            Comment(text=f"note {len(self.notes)}"),
            Tag(tags=[self.chance.choice(["a", "b"])]),
            Escalate(reason="x"),
        ]
        return self.chance.choice(kinds)

    def _act(self, number: int) -> None:
        with Session(self.engine) as session, session.begin():
            act = self._wish()
            done = acts.perform(session, self._by(), make_alert(number).alert_id, act)
            made, act_id = dict(done.act.made), done.act.act_id
            label = (done.label.label_id, done.label.verdict) if done.label is not None else None
        self.done.append(act_id)
        if label is not None:
            self.labels[label[0]] = (make_alert(number).alert_id, label[1])
        if "note_id" in made:
            self.notes[made["note_id"]] = make_alert(number).alert_id
        if "snooze_id" in made and isinstance(act, Snooze):
            self.snoozes[made["snooze_id"]] = act.until

    def _undo(self, _number: int) -> None:
        if self.done:
            with Session(self.engine) as session, session.begin():
                undo.undo(session, self._by(), self.done[-1])
            self.done.pop()

    def _evidence(self, number: int) -> None:
        before = self.row(number)
        fresh = self.chance.random() < 0.7
        self.revisions[number] += 1
        revision = self.revisions[number]
        alert = (
            make_alert(number, revision)
            if fresh
            else make_alert(number, revision, findings=make_alert(number).findings)
        )
        known = self._findings(number)
        store(self.engine, "acme", [alert], self.now)
        after = self.row(number)
        assert (after.label_id, after.snoozed_until, after.lease_until, list(after.tags)) == (
            before.label_id,
            before.snoozed_until,
            before.lease_until,
            list(before.tags),
        )
        entitled = number in self.grants
        news = any(finding.finding_id not in known for finding in alert.findings)
        if before.state == "closed" and news and not entitled:
            assert (after.state, after.reopened_revision) == ("reopened", revision)
            self.counts["reopened"] += 1
        else:
            assert after.state == before.state

    def _findings(self, number: int) -> set[str]:
        from services.adapters.postgres.tables import EvidenceRow

        with Session(self.engine) as session:
            asked = select(EvidenceRow.finding_id).where(EvidenceRow.alert_id == make_alert(number).alert_id)
            return set(session.scalars(asked))

    def _time(self, _number: int) -> None:
        self.now += timedelta(minutes=self.chance.choice([1, 16, 300]))
        with self.engine.begin() as connection:
            claims.sweep(connection, "acme", self.now)
        for number in ALERTS:
            row = self.row(number)
            assert row.state != "claimed" or (row.lease_until is not None and row.lease_until > self.now)
            assert row.state != "snoozed" or (row.snoozed_until is not None and row.snoozed_until > self.now)

    def _next(self, _number: int) -> None:
        with Session(self.engine) as session, session.begin():
            done = claims.claim_next(session, self._by())
            if done is not None:
                self.done.append(done.act.act_id)
                taken = next(number for number in ALERTS if make_alert(number).alert_id == done.alert.alert_id)
                assert taken not in self.grants, "who is entitled is not in the queue"

    def _entitle(self, number: int) -> None:
        with Session(self.engine) as session, session.begin():
            if number in self.grants:
                revoke_entitlement(session, "acme", self.grants.pop(number), actor="lea", now=self.now)
                return
            grant = Grant(
                subject_kind="organization",
                subject=make_alert(number).members[0].customer,
                kind="licence",
                valid_from=self.now,
                valid_until=self.now + timedelta(days=3650),
                reference="contract",
                actor="lea",
            )
            try:
                self.grants[number] = add_entitlement(session, "acme", grant, self.now).entitlement_id
            except EntitledAlreadyError:
                session.rollback()

    def _nothing_is_lost(self) -> None:
        with Session(self.engine) as session:
            notes = {row.note_id: row.alert_id for row in session.scalars(select(NoteRow))}
            labels = {row.label_id: (row.alert_id, row.verdict) for row in session.scalars(select(LabelRow))}
            snoozes = {row.snooze_id: row.until for row in session.scalars(select(SnoozeRow))}
            alerts = session.scalars(select(AlertRow)).all()
        assert self.notes.items() <= notes.items(), "a note is lost"
        assert self.labels.items() <= labels.items(), "a verdict is lost"
        assert self.snoozes.items() <= snoozes.items(), "a snooze is lost"
        for row in alerts:
            assert row.state != "labelled" or (row.label_id is not None and labels[row.label_id][1] != "withdrawn")
            covered = row.entitled_until is not None and row.entitled_until > self.now
            number = next(number for number in ALERTS if make_alert(number).alert_id == row.alert_id)
            assert covered == (number in self.grants), "an entitlement does not hold"


def test_nothing_that_people_did_is_ever_lost(engine: Engine, record_property: Callable[[str, object], None]) -> None:
    with engine.begin() as connection:
        ensure_ahead(connection, NOW, months=24)
    store(engine, "acme", [make_alert(number) for number in ALERTS])
    machine = Machine(engine, seed=STEPS)
    for _ in range(STEPS):
        machine.step()
    record_property("trials", sum(count for name, count in machine.counts.items() if name != "reopened"))
    with Session(engine) as session:
        assert audit.verify(session, "acme").whole
    for wanted in ("act", "undo", "evidence", "time", "next", "entitle"):
        assert machine.counts[wanted], f"{wanted} never happened: the walk shows nothing"
