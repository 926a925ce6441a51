"""Undoing: the alert stands again as before its last act. What the act added stays on record, marked as taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from services.adapters.postgres import audit
from services.adapters.postgres.lifecycle import standing
from services.adapters.postgres.lifecycle.acts import lock_alert, standing_of, write_standing
from services.adapters.postgres.lifecycle.verdicts import write_verdict
from services.adapters.postgres.lifecycle_tables import ActRow, NoteRow, SnoozeRow
from services.adapters.postgres.tables import LabelRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from services.adapters.postgres.lifecycle.acts import By
    from services.adapters.postgres.tables import AlertRow


class UnknownActError(StillwatchError):
    """There is no such act."""


class NotYoursError(StillwatchError):
    """Another person did this."""

    hint = "They can undo it, or a lead."


class SupersededError(StillwatchError):
    """Something else has happened to the alert since, or the act was undone already; nothing was written."""

    hint = "Read the alert again; acts are undone from the last one back."


def undo(session: Session, by: By, act_id: str) -> AlertRow:
    """Undo an alert's last act in the open transaction. Raises UnknownActError, NotYoursError or SupersededError.

    A verdict that is taken back goes to the topic as ``withdrawn``, or as the verdict that stood before it.
    """
    act = session.get(ActRow, (by.tenant, act_id))
    if act is None:
        raise UnknownActError(f"there is no act {act_id}")
    row = lock_alert(session, by.tenant, act.alert_id)
    session.refresh(act)
    if act.actor != by.actor and not by.oversees:
        raise NotYoursError(f"{act.actor} did this")
    if act.undone_at is not None or row.last_act != act_id:
        raise SupersededError("it is not the last act on the alert")
    now_standing = standing_of(row)
    restored = standing.at(standing.Standing.from_json(act.before), by.now)
    if restored.label_id != now_standing.label_id:
        restored = replace(restored, label_id=_restore_verdict(session, by, row, restored.label_id))
    _take_back(session, by, act)
    write_standing(row, restored)
    row.last_act = act.previous
    act.undone_at, act.undone_by = by.now, by.actor
    session.flush()
    audit.append(
        session.connection(),
        tenant=by.tenant,
        at=by.now,
        actor=by.actor,
        action="alert.undone",
        subject=f"alert/{row.alert_id}",
        before=now_standing.to_json(),
        after=restored.to_json() | {"act_id": act_id, "kind": act.kind, "version": row.version},
    )
    return row


def _restore_verdict(session: Session, by: By, row: AlertRow, label_id: str | None) -> str | None:
    """Tell everybody the verdict that stands again: the topic's readers know only the newest."""
    earlier = session.get(LabelRow, (by.tenant, label_id)) if label_id is not None else None
    if earlier is None:
        write_verdict(session, row, verdict="withdrawn", reason="The verdict was undone.", actor=by.actor, now=by.now)
        return None
    verdict: Any = earlier.verdict  # The table's check holds it to the contract's words.
    again = write_verdict(session, row, verdict=verdict, reason=earlier.reason, actor=by.actor, now=by.now)
    return again.label_id


def _take_back(session: Session, by: By, act: ActRow) -> None:
    if "note_id" in act.made:
        note = session.get_one(NoteRow, (by.tenant, act.made["note_id"]))
        note.withdrawn_at = by.now
    if "snooze_id" in act.made:
        snooze = session.get_one(SnoozeRow, (by.tenant, act.made["snooze_id"]))
        if snooze.ended_at is None:
            snooze.ended_at, snooze.ended_by = by.now, by.actor
    for snooze in session.scalars(
        select(SnoozeRow).where(
            SnoozeRow.tenant == by.tenant,
            SnoozeRow.snooze_id.in_(act.made.get("ended_snoozes", [])),
            SnoozeRow.until > by.now,
        )
    ):
        snooze.ended_at = snooze.ended_by = None
