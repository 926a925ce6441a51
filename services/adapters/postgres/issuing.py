"""From approved decisions to signed records: one writer at a time gives sequence numbers in the order of issue.

Entitlements are asked once more here, since they may have come after the proposal: who is entitled now is taken out,
and a decision about nobody else is not issued. The record goes into the row and into the outbox of one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import func, select, text

from detection.policy.decisions import TENANT, delay_ms
from detection.policy.ladder import limits_of, trim_of
from schemas.decision import Decision, decision_key
from schemas.headers import text_headers
from schemas.topics import DECISIONS
from services.adapters.postgres import licences, outbox
from services.adapters.postgres.decision_rows import as_action
from services.adapters.postgres.decisions import ENTITLEMENT
from services.adapters.postgres.moments import format_moment, to_unix_ms
from services.adapters.postgres.tables import DecisionRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from detection.config import DecisionPolicy
    from services.adapters.signatures import Signer

SOURCE: Final = "stillwatch/decisions"
_TURN: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('decision-issuer/' || :tenant, 0))")
_BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class Issued:
    """What the stream and the metrics tell of one issued decision."""

    sequence: int
    action: str
    dry_run: bool


def has_approved(session: Session, tenant: str) -> bool:
    """Tell whether a decision waits to be issued; asked twice a second, answered by a partial index."""
    rows = select(DecisionRow.decision_id).where(DecisionRow.tenant == tenant, DecisionRow.state == "approved")
    return session.execute(rows.limit(1)).first() is not None


def issue_approved(
    session: Session,
    tenant: str,
    signer: Signer,
    policy: DecisionPolicy,
    now: datetime,
    trace: Callable[[DecisionRow], Mapping[str, str]] = lambda _: {},
) -> list[Issued]:
    """Issue what is approved, oldest approval first, at most a batch; ``trace`` gives more headers of a record."""
    session.execute(_TURN, {"tenant": tenant})
    rows = session.scalars(
        select(DecisionRow)
        .where(DecisionRow.tenant == tenant, DecisionRow.state == "approved")
        .order_by(DecisionRow.decided_at, DecisionRow.decision_id)
        .limit(_BATCH)
        .with_for_update()
    ).all()
    if not rows:
        return []
    highest = session.scalars(select(func.max(DecisionRow.sequence)).where(DecisionRow.tenant == tenant)).one()
    issued: list[Issued] = []
    for row in rows:
        if not _keep_unentitled(session, row, now):
            row.state, row.decided_by = "rejected", ENTITLEMENT
            continue
        highest = (highest or 0) + 1
        _issue(session, row, highest, signer, policy, now, trace)
        issued.append(Issued(highest, row.action, row.dry_run))
    session.flush()
    return issued


def records_after(
    session: Session, tenant: str, sequence: int, now: datetime, limit: int = 500
) -> Sequence[tuple[int, bytes]]:
    """Give the decisions above a sequence number that have not ended, in order: of each subject the newest."""
    rows = session.execute(
        select(DecisionRow.sequence, DecisionRow.record)
        .where(
            DecisionRow.tenant == tenant,
            DecisionRow.sequence > sequence,
            DecisionRow.state == "issued",
            DecisionRow.expires_at > now,
        )
        .order_by(DecisionRow.sequence)
        .limit(limit)
    )
    return [(number, bytes(record)) for number, record in rows if number is not None and record is not None]


def _keep_unentitled(session: Session, row: DecisionRow, now: datetime) -> bool:
    """Leave out members that are entitled; tell whether there is anybody left, or the decision loosens anyway."""
    if row.action in {"allow", "observe"}:
        return True
    names = {name for pair in row.members for name in pair if name} | {row.subject}
    held = licences.licences_of(session, row.tenant, names, now).keys()
    if row.subject in held:
        return False
    if row.subject_kind not in {"campaign", "account"}:
        return True
    row.members = [pair for pair in row.members if held.isdisjoint(pair)]
    return bool(row.members)


def _issue(
    session: Session,
    row: DecisionRow,
    sequence: int,
    signer: Signer,
    policy: DecisionPolicy,
    now: datetime,
    trace: Callable[[DecisionRow], Mapping[str, str]],
) -> None:
    before = _issued_before(session, row)
    standing = (
        before is not None and before.action == row.action and before.expires_at is not None and before.expires_at > now
    )
    row.standing_since = before.standing_since if standing and before is not None else now
    # Who stands on this rung already gains nothing by waiting: a growing campaign is not let loose between revisions.
    wait = 0 if standing else delay_ms(signer.jitter_key, row.decision_id, as_action(row.action), policy)
    row.sequence, row.issued_at = sequence, now
    # An entitlement that begins later says so itself.
    row.effective_at = max(row.effective_at or now, now) + timedelta(milliseconds=wait)
    row.expires_at = row.effective_at + timedelta(milliseconds=row.lifetime_ms)
    # The kill switch and entitlements hold whatever is tried out: they can only loosen.
    row.dry_run = row.action != "allow" and row.subject_kind != TENANT and (row.dry_run or policy.dry_run)
    decision = _record(row, policy)
    row.record, row.state = signer.sign(decision, row.tenant), "issued"
    if before is not None:
        before.state = "superseded"
    outbox.append(
        session.connection(),
        tenant=row.tenant,
        topic=DECISIONS.name,
        key=decision_key(row.subject_kind, row.subject),
        value=row.record,
        headers=text_headers(decision, SOURCE, to_unix_ms(now)) | dict(trace(row)),
        at=now,
    )


def _issued_before(session: Session, row: DecisionRow) -> DecisionRow | None:
    return session.scalars(
        select(DecisionRow).where(
            DecisionRow.tenant == row.tenant,
            DecisionRow.subject_kind == row.subject_kind,
            DecisionRow.subject == row.subject,
            DecisionRow.state == "issued",
        )
    ).one_or_none()


def _record(row: DecisionRow, policy: DecisionPolicy) -> Decision:
    action = as_action(row.action)
    return msgspec.convert(
        {
            "type": "decision.v1",
            "decision_id": row.decision_id,
            "subject_kind": row.subject_kind,
            "subject": row.subject,
            "members": [pair[0] for pair in row.members] if row.subject_kind == "campaign" else [],
            "action": action,
            "limits": limits_of(action, len(row.members), policy),
            "trim": trim_of(action, policy),
            "reason_codes": row.reason_codes,
            "evidence_id": row.evidence_id,
            "issued_at": _moment(row.issued_at),
            "effective_at": _moment(row.effective_at),
            "expires_at": _moment(row.expires_at),
            "dry_run": row.dry_run,
            "sequence": row.sequence,
            "key_id": "",
            "signature": "",
        },
        Decision,
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else format_moment(moment)
