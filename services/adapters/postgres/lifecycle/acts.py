"""Acts on alerts: lock the row, hold the version against the one that was read, ask the state machine, write it all.

Everything an act makes - verdict, note, snooze, the act itself, the audit's row - is one transaction. The audit comes
last, for its lock is every writer's.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from services.adapters.postgres import audit
from services.adapters.postgres.alerts import UnknownAlertError
from services.adapters.postgres.lifecycle import reviews, standing, verdicts
from services.adapters.postgres.lifecycle_tables import ActRow, NoteRow, SnoozeRow
from services.adapters.postgres.tables import AlertRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from services.adapters.postgres.tables import LabelRow


class LostRaceError(StillwatchError):
    """The alert has changed since it was read; nothing was written."""

    hint = "Read the alert again and decide anew."


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who acts, for which tenant, and when. ``oversees``: may take over what another holds."""

    tenant: str
    actor: str
    now: datetime
    oversees: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The act, the alert after it, and the label where it was a verdict."""

    act: ActRow
    alert: AlertRow
    label: LabelRow | None


def lock_alert(session: Session, tenant: str, alert_id: str) -> AlertRow:
    """Give the alert's row, locked until the commit; raises UnknownAlertError."""
    row = session.scalars(
        select(AlertRow)
        .where(AlertRow.tenant == tenant, AlertRow.alert_id == alert_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise UnknownAlertError(f"there is no alert {alert_id}")
    return row


def standing_of(row: AlertRow) -> standing.Standing:
    """Read the standing from the alert's row."""
    state: Any = row.state  # The table's check holds it to the machine's states.
    return standing.Standing(
        state=state,
        assignee=row.assignee,
        lease_until=row.lease_until,
        snoozed_until=row.snoozed_until,
        reopened_revision=row.reopened_revision,
        label_id=row.label_id,
        tags=tuple(row.tags),
    )


def write_standing(row: AlertRow, new: standing.Standing) -> None:
    """Write the standing into the alert's row, and count the change."""
    row.state, row.assignee, row.lease_until = new.state, new.assignee, new.lease_until
    row.snoozed_until, row.reopened_revision = new.snoozed_until, new.reopened_revision
    row.label_id, row.tags = new.label_id, list(new.tags)
    row.version += 1


def perform(
    session: Session,
    by: By,
    alert_id: str,
    act: standing.Act,
    *,
    expected_versions: frozenset[int] | None = None,
    bulk_id: str | None = None,
    label_key: tuple[str, str] | None = None,
) -> Done:
    """Do one act in the open transaction. Raises UnknownAlertError, LostRaceError, HeldError or NotPossibleError.

    ``expected_versions`` holds the version that was read; None takes any. ``label_key`` is a verdict's idempotency key
    and the digest of its request.
    """
    row = lock_alert(session, by.tenant, alert_id)
    if expected_versions is not None and row.version not in expected_versions:
        raise LostRaceError(f"alert {alert_id} is at version {row.version} now")
    before = standing.at(standing_of(row), by.now)
    new = standing.after(before, act, by.actor, by.now, oversees=by.oversees)
    made: dict[str, Any] = {}
    label = None
    if isinstance(act, standing.Judge):
        key, digest = label_key or (None, None)
        label = verdicts.write_verdict(
            session,
            row,
            verdict=act.verdict,
            reason=act.reason,
            actor=by.actor,
            now=by.now,
            idempotency_key=key,
            request_digest=digest,
        )
        new = replace(new, label_id=label.label_id)
        reviews.maybe_ask(session, label, by.now)
    made |= _make(session, by, row, act)
    write_standing(row, new)
    done = ActRow(
        tenant=by.tenant,
        act_id=uuid.uuid4().hex,
        alert_id=alert_id,
        bulk_id=bulk_id,
        previous=row.last_act,
        kind=act.act,
        actor=by.actor,
        at=by.now,
        before=before.to_json(),
        after=new.to_json(),
        made=made,
    )
    session.add(done)
    row.last_act = done.act_id
    session.flush()
    told: dict[str, Any] = act.model_dump(mode="json", exclude={"act"}) | {
        "act_id": done.act_id,
        "version": row.version,
    }
    if label is not None:
        told["label_id"] = label.label_id
    audit.append(
        session.connection(),
        tenant=by.tenant,
        at=by.now,
        actor=by.actor,
        action=f"alert.{_DONE[act.act]}",
        subject=f"alert/{alert_id}",
        before=before.to_json(),
        after=new.to_json() | told,
    )
    return Done(done, row, label)


def list_acts(session: Session, tenant: str, alert_id: str) -> Sequence[ActRow]:
    """Give an alert's acts, newest first."""
    rows = select(ActRow).where(ActRow.tenant == tenant, ActRow.alert_id == alert_id)
    return session.scalars(rows.order_by(ActRow.at.desc(), ActRow.act_id)).all()


def list_notes(session: Session, tenant: str, alert_id: str) -> Sequence[NoteRow]:
    """Give an alert's notes, oldest first, those that were withdrawn too."""
    rows = select(NoteRow).where(NoteRow.tenant == tenant, NoteRow.alert_id == alert_id)
    return session.scalars(rows.order_by(NoteRow.at, NoteRow.note_id)).all()


def list_snoozes(session: Session, tenant: str, alert_id: str) -> Sequence[SnoozeRow]:
    """Give the snoozes that were asked for at an alert, newest first."""
    rows = select(SnoozeRow).where(SnoozeRow.tenant == tenant, SnoozeRow.alert_id == alert_id)
    return session.scalars(rows.order_by(SnoozeRow.at.desc(), SnoozeRow.snooze_id)).all()


def _make(session: Session, by: By, row: AlertRow, act: standing.Act) -> dict[str, Any]:
    """Add the rows of an act beside the alert's own; give their ids, so that undoing finds them."""
    made: dict[str, Any] = {}
    if isinstance(act, standing.Comment | standing.Escalate):
        body = act.text if isinstance(act, standing.Comment) else f"Escalated: {act.reason}"
        note = NoteRow(
            tenant=by.tenant, note_id=uuid.uuid4().hex, alert_id=row.alert_id, at=by.now, actor=by.actor, body=body
        )
        session.add(note)
        made["note_id"] = note.note_id
    if isinstance(act, standing.Wake | standing.Snooze):
        made["ended_snoozes"] = end_snoozes(session, by, row)
    if isinstance(act, standing.Snooze):
        snooze = SnoozeRow(
            tenant=by.tenant,
            snooze_id=uuid.uuid4().hex,
            alert_id=row.alert_id,
            subject=row.subject,
            detector=row.detector,
            at=by.now,
            until=act.until,
            actor=by.actor,
            reason=act.reason,
        )
        session.add(snooze)
        made["snooze_id"] = snooze.snooze_id
    return made


def end_snoozes(session: Session, by: By, row: AlertRow) -> list[str]:
    """End the snoozes in force on the alert's subject and detector; give their ids."""
    ended = session.scalars(
        update(SnoozeRow)
        .where(
            SnoozeRow.tenant == by.tenant,
            SnoozeRow.subject == row.subject,
            SnoozeRow.detector == row.detector,
            SnoozeRow.ended_at.is_(None),
            SnoozeRow.until > by.now,
        )
        .values(ended_at=by.now, ended_by=by.actor)
        .returning(SnoozeRow.snooze_id)
    )
    return list(ended)


_DONE = {
    "claim": "claimed",
    "release": "released",
    "assign": "assigned",
    "judge": "labelled",
    "snooze": "snoozed",
    "wake": "woken",
    "close": "closed",
    "comment": "commented",
    "tag": "tagged",
    "escalate": "escalated",
}
