"""What stands beside an alert: its standing, its verdict, who is entitled, what was done, and reasons to use again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from services.adapters.postgres import entitlements
from services.adapters.postgres.lifecycle import acts
from services.adapters.postgres.tables import DecisionRow, LabelRow
from services.console.wording import verdict_words
from services.identity import people

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from services.adapters.postgres.alerts import AlertDetail
    from services.adapters.postgres.lifecycle_tables import ActRow
    from services.console.viewer import Viewer

REASONS: Final = 5
DECISIONS: Final = 3
_LONGEST_REASON: Final = 90
WORDS: Final[dict[str, str]] = {
    "claim": "Claimed",
    "release": "Given back",
    "assign": "Assigned",
    "judge": "Judged",
    "snooze": "Snoozed",
    "wake": "Woken",
    "close": "Closed",
    "comment": "Comment",
    "tag": "Tagged",
    "escalate": "Escalated",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that somebody did, as the panel tells it."""

    what: str
    text: str
    actor: str
    at: datetime
    undone: bool


def read(session: Session, viewer: Viewer, found: AlertDetail) -> dict[str, Any]:
    """Read everything that the panel shows of an alert."""
    alert = found.alert
    subjects = {member.customer for member in found.members if member.customer}
    if len(subjects) > 1:
        subjects = set()  # One organisation's licence does not cover a group of several.
    if alert.subject_kind == "account":
        subjects.add(alert.subject)
    now_entitled = [
        row
        for subject in sorted(subjects)
        for row in entitlements.list_entitlements(session, viewer.tenant, subject=subject).rows
        if row.revoked_at is None
    ]
    verdict = next((label for label in found.labels if label.label_id == alert.label_id), None)
    return {
        "standing": alert,
        "verdict": verdict,
        "entitled": now_entitled,
        "enforced": enforced(session, viewer.tenant, alert.alert_id),
        "log": log(
            acts.list_acts(session, viewer.tenant, alert.alert_id),
            {row.label_id: row for row in found.labels},
            {row.note_id: row.body for row in acts.list_notes(session, viewer.tenant, alert.alert_id)},
            {row.snooze_id: row.reason for row in acts.list_snoozes(session, viewer.tenant, alert.alert_id)},
        ),
        "reasons": reasons(session, viewer),
        "people": [row.name for row in people.list_users(session, viewer.tenant) if row.disabled_at is None],
    }


def enforced(session: Session, tenant: str, alert_id: str) -> Sequence[DecisionRow]:
    """Give what is proposed or decided on the evidence of an alert, newest first."""
    rows = select(DecisionRow).where(
        DecisionRow.tenant == tenant,
        DecisionRow.evidence_id == alert_id,
        DecisionRow.state.in_(("proposed", "approved", "issued")),
    )
    return session.scalars(rows.order_by(DecisionRow.proposed_at.desc()).limit(DECISIONS)).all()


def log(
    done: Sequence[ActRow], labels: dict[str, LabelRow], notes: dict[str, str], snoozes: dict[str, str]
) -> list[Entry]:
    """Tell acts in words, newest first."""
    entries: list[Entry] = []
    for act in done:
        text = ""
        if act.kind == "judge":
            label = labels.get(str(act.after.get("label_id")))
            text = f"{verdict_words(label.verdict)}: {label.reason}" if label is not None else ""
        elif "note_id" in act.made:
            text = notes.get(act.made["note_id"], "")
        elif "snooze_id" in act.made:
            text = f"until {act.after.get('snoozed_until', '')}: {snoozes.get(act.made['snooze_id'], '')}"
        elif act.kind == "assign":
            text = f"to {act.after.get('assignee') or 'nobody'}"
        elif act.kind == "tag":
            text = " ".join(act.after.get("tags", []))
        entries.append(Entry(WORDS.get(act.kind, act.kind), text, act.actor, act.at, act.undone_at is not None))
    return entries


def reasons(session: Session, viewer: Viewer) -> list[str]:
    """Give the reasons that this person uses most, for one key each."""
    rows = (
        select(LabelRow.reason)
        .where(
            LabelRow.tenant == viewer.tenant,
            LabelRow.actor == viewer.name,
            LabelRow.verdict != "withdrawn",
            func.length(LabelRow.reason) <= _LONGEST_REASON,
        )
        .group_by(LabelRow.reason)
        .order_by(func.count().desc(), func.max(LabelRow.labelled_at).desc())
        .limit(REASONS)
    )
    return list(session.scalars(rows))
