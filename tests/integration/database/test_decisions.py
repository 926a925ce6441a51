"""Decisions on a real database: from alert to signed record, with the people and the entitlements in between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from detection.config import DecisionPolicy
from detection.policy.decisions import Proposal
from schemas.decision import Decision
from services.adapters.postgres import decision_rows, decisions, entitlements, issuing
from services.adapters.postgres.moments import to_unix_ms
from services.adapters.signatures import Signer, Verifier
from services.api.context import ApiContext
from services.api.deciding import decision_events
from services.telemetry.metrics import Metrics
from tests.integration.database.samples import NOW, account_id

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from services.adapters.postgres.tables import DecisionRow

pytestmark = pytest.mark.integration
TENANT = "acme"
SIGNER = Signer(bytes(32))
VERIFIER = Verifier([SIGNER.public], TENANT)
POLICY = DecisionPolicy(dry_run=False)
CAMPAIGN = "c" * 16
MINUTE = timedelta(minutes=1)


def proposal(**changes: Any) -> Proposal:
    told: dict[str, Any] = {
        "subject_kind": "campaign",
        "subject": CAMPAIGN,
        "members": [(account_id(number), account_id(100 + number)) for number in (1, 2)],
        "action": "throttle",
        "reason_codes": ["lane.pool"],
        "evidence_id": CAMPAIGN,
        "lifetime_ms": POLICY.restrict_ms,
        "automatic": True,
    }
    return Proposal(**(told | changes))


class Desk:
    """One tenant's decisions, each act in a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now: datetime = NOW

    def propose(self, revision: int = 1, label: str = "", judge: str = "", **changes: Any) -> DecisionRow | None:
        source = decisions.Source(revision=revision, label_id=label, judge=judge)
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            return decisions.propose_by_policy(session, TENANT, proposal(**changes), source, self.now)

    def act(self, name: str, *arguments: Any, **options: Any) -> Any:
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            return getattr(decisions, name)(session, TENANT, *arguments, now=self.now, **options)

    def issue(self, policy: DecisionPolicy = POLICY) -> list[Decision]:
        with Session(self.engine) as session, session.begin():
            issuing.issue_approved(session, TENANT, SIGNER, policy, self.now)
        with Session(self.engine) as session, session.begin():
            rows = session.execute(
                text("SELECT key, value FROM outbox WHERE topic = 'decisions' AND relayed_at IS NULL ORDER BY id")
            ).all()
            session.execute(text("UPDATE outbox SET relayed_at = now() WHERE relayed_at IS NULL"))
        read = [VERIFIER.read(bytes(row.value)) for row in rows]
        assert [row.key for row in rows] == [f"{each.subject_kind}:{each.subject}" for each in read]
        return read

    def states(self) -> list[tuple[str, str]]:
        with Session(self.engine) as session:
            rows = decision_rows.list_decisions(session, TENANT).rows
            return [(row.action, row.state) for row in reversed(rows)]

    def grant(self, **changes: Any) -> Any:
        told: dict[str, Any] = {
            "subject_kind": "organization",
            "subject": account_id(101),
            "kind": "licence",
            "valid_from": self.now,
            "valid_until": self.now + timedelta(days=30),
            "reference": "contract 7",
            "actor": "lea",
        }
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            return entitlements.add_entitlement(session, TENANT, entitlements.Grant(**(told | changes)), self.now)


@pytest.fixture
def desk(engine: Engine) -> Desk:
    return Desk(engine)


def test_an_automatic_proposal_is_issued_once_signed_and_with_a_secret_delay(desk: Desk) -> None:
    assert desk.propose() is not None
    assert desk.propose() is None  # The same alert again.
    (issued,) = desk.issue()
    assert desk.issue() == []
    assert (issued.action, issued.members, issued.sequence) == ("throttle", [account_id(1), account_id(2)], 1)
    assert issued.limits is not None
    assert not issued.dry_run
    assert "2026" in issued.issued_at <= issued.effective_at < issued.expires_at
    assert desk.propose(revision=2) is None  # Nothing new to say.
    assert desk.states() == [("throttle", "issued")]


def test_a_restriction_above_the_automatic_rung_waits_for_another_person(desk: Desk) -> None:
    row = desk.propose(action="block", automatic=False, judge="ana", label="l1")
    assert row is not None
    assert desk.issue() == []
    with pytest.raises(decisions.OwnProposalError):
        desk.act("approve", row.decision_id, actor="ana")
    desk.act("approve", row.decision_id, actor="lea")
    with pytest.raises(decisions.NotProposedError):
        desk.act("approve", row.decision_id, actor="lee")
    (issued,) = desk.issue()
    assert issued.action == "block"
    assert issued.trim is not None
    with pytest.raises(decision_rows.UnknownDecisionError):
        desk.act("approve", "none", actor="lea")


def test_newer_words_supersede_older_ones_and_a_rejected_proposal_goes_nowhere(desk: Desk) -> None:
    desk.propose()
    (first,) = desk.issue()
    desk.now += MINUTE
    desk.propose(revision=2, action="trim", automatic=False)
    desk.now += MINUTE
    row = desk.propose(revision=3, action="challenge", automatic=False)
    assert row is not None
    assert desk.states() == [("throttle", "issued"), ("trim", "superseded"), ("challenge", "proposed")]
    desk.act("reject", row.decision_id, actor="lea", reason="a class")
    assert desk.issue() == []
    grown = [(account_id(number), account_id(100 + number)) for number in (1, 2, 3)]
    desk.now += MINUTE
    desk.propose(revision=4, members=grown)
    (second,) = desk.issue()
    assert second.sequence == first.sequence + 1
    # The campaign stands on its rung already: its new members are not let loose by a delay.
    assert second.effective_at == second.issued_at
    assert desk.states()[0] == ("throttle", "superseded")


def test_revoking_leaves_the_subject_watched_until_the_end(desk: Desk) -> None:
    row = desk.propose()
    assert row is not None
    (issued,) = desk.issue()
    desk.now += MINUTE
    desk.act("revoke", row.decision_id, actor="lea", reason="an honest crowd")
    (taken,) = desk.issue()
    assert (taken.action, taken.reason_codes, taken.limits) == ("observe", ["revoked"], None)
    assert taken.effective_at == taken.issued_at
    assert taken.expires_at == issued.expires_at
    with pytest.raises(decisions.NotInForceError):
        desk.act("revoke", row.decision_id, actor="lea", reason="again")
    with Session(desk.engine) as session:
        held = decision_rows.in_force(session, TENANT, "campaign", CAMPAIGN, desk.now)
    assert held is not None
    assert (held.action, held.by_person) == ("observe", True)


def test_what_is_revoked_before_its_issue_is_never_issued(desk: Desk) -> None:
    row = desk.propose()
    assert row is not None
    desk.act("revoke", row.decision_id, actor="lea", reason="too fast")
    assert [each.action for each in desk.issue()] == ["observe"]


def test_the_kill_switch_is_never_a_dry_run_and_lets_go(desk: Desk) -> None:
    desk.act("set_kill_switch", engaged=True, actor="lea", reason="false alarms")
    (on,) = desk.issue(DecisionPolicy())
    assert (on.subject_kind, on.action, on.dry_run, on.reason_codes) == ("tenant", "allow", False, ["kill_switch"])
    desk.now += MINUTE
    desk.act("set_kill_switch", engaged=False, actor="lea", reason="over")
    (off,) = desk.issue(DecisionPolicy())
    assert (off.action, off.dry_run, off.sequence) == ("observe", False, on.sequence + 1)


def test_an_entitlement_reaches_gateways_and_takes_its_holder_out_of_what_is_approved_later(desk: Desk) -> None:
    desk.propose(action="block", automatic=False)
    desk.grant()
    (allowed,) = desk.issue(DecisionPolicy())
    assert (allowed.subject_kind, allowed.subject, allowed.action) == ("organization", account_id(101), "allow")
    assert not allowed.dry_run
    (row,) = [row for row in _listed(desk) if row.state == "proposed"]
    desk.act("approve", row.decision_id, actor="lea")
    (issued,) = desk.issue()
    assert issued.members == [account_id(2)]
    desk.grant(subject_kind="account", subject=account_id(2))
    desk.now += MINUTE
    desk.propose(revision=2, action="throttle")
    assert [each.action for each in desk.issue()] == ["allow"]
    assert desk.states()[-1] == ("throttle", "rejected")


def test_a_revoked_entitlement_is_told_and_one_that_begins_later_waits(desk: Desk) -> None:
    row = desk.grant(valid_from=desk.now + timedelta(days=1))
    (allowed,) = desk.issue()
    assert allowed.effective_at > allowed.issued_at
    desk.now += MINUTE
    with Session(desk.engine) as session, session.begin():
        entitlements.revoke_entitlement(session, TENANT, row.entitlement_id, actor="lea", now=desk.now)
    (taken,) = desk.issue()
    assert (taken.action, taken.reason_codes) == ("observe", ["entitlement.revoked"])


def test_a_person_proposes_and_the_decision_ends_when_they_said(desk: Desk) -> None:
    wish = decisions.Wish(
        subject_kind="account",
        subject=account_id(5),
        action="challenge",
        reason="resells",
        actor="ana",
        lifetime_ms=3_600_000,
        dry_run=True,
    )
    row = desk.act("propose_by_person", wish)
    desk.act("approve", row.decision_id, actor="lea")
    (issued,) = desk.issue(DecisionPolicy(dry_run=False, jitter_ms=0))
    assert (issued.members, issued.dry_run) == ([], True)
    assert issued.effective_at == issued.issued_at
    assert (row.decision_id, issued.subject) == (issued.decision_id, account_id(5))


def test_the_stream_begins_with_what_holds_and_resumes_after_the_last_id(desk: Desk, engine: Engine) -> None:
    desk.propose()
    desk.act("set_kill_switch", engaged=True, actor="lea", reason="drill")
    desk.issue()
    clock = SteppingClock(to_unix_ms(NOW))
    context = ApiContext(engine=engine, metrics=Metrics(), clock=clock, tenant=TENANT, checks={}, secret=b"k")

    def events(after: int) -> list[bytes]:
        async def collect() -> list[bytes]:
            stream = decision_events(context, TENANT, after, seconds=40, poll_seconds=0)
            return [event async for event in stream]

        return asyncio.run(collect())

    first, *others = events(0)
    assert first == b"retry: 1000\n\n"
    told = [event for event in others if event.startswith(b"id: ")]
    assert [event.split(b"\n")[0] for event in told] == [b"id: 1", b"id: 2"]
    raw = told[0].split(b"data: ")[1].strip()
    assert VERIFIER.read(raw).sequence == 1
    assert msgspec.json.decode(raw, type=Decision).subject in {CAMPAIGN, "tenant"}
    assert others.index(b"event: caught_up\ndata: {}\n\n") == len(told)
    assert b": nothing new\n\n" in others
    assert [event.split(b"\n")[0] for event in events(1) if event.startswith(b"id: ")] == [b"id: 2"]
    assert not [event for event in events(2) if event.startswith(b"id: ")]


class SteppingClock:
    """Wall time stands; each look at the other clock is five seconds later."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._seconds = 0.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        self._seconds += 5.0
        return self._seconds


def _listed(desk: Desk) -> list[DecisionRow]:
    with Session(desk.engine, expire_on_commit=False) as session:
        return list(decision_rows.list_decisions(session, TENANT).rows)
