"""Who works on what: the next alert of the queue, for one person only, and the end of leases and snoozes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, or_, select, text

from services.adapters.postgres import audit
from services.adapters.postgres.alerts import AlertFilter, conditions
from services.adapters.postgres.lifecycle import acts, standing
from services.adapters.postgres.tables import AlertRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection
    from sqlalchemy.orm import Session

    from services.adapters.postgres.lifecycle.acts import By, Done

SWEEP_ROWS: Final = 500
_DUE: Final = text("""
    UPDATE alerts SET
        state = CASE WHEN reopened_revision IS NULL THEN 'open' ELSE 'reopened' END,
        assignee = CASE WHEN state = 'claimed' THEN NULL ELSE assignee END,
        lease_until = NULL, snoozed_until = NULL, version = version + 1
      FROM (SELECT alert_id, state AS was FROM alerts
             WHERE tenant = :tenant
               AND (state = 'claimed' AND lease_until <= :now OR state = 'snoozed' AND snoozed_until <= :now)
             LIMIT :rows FOR UPDATE SKIP LOCKED) AS due
     WHERE alerts.tenant = :tenant AND alerts.alert_id = due.alert_id
    RETURNING alerts.alert_id, due.was, alerts.state, alerts.version
""")


def waiting(now: datetime) -> ColumnElement[bool]:
    """Give the condition of the queue: nobody holds it, nothing hides it, and no entitlement covers it."""
    free = or_(AlertRow.state != "claimed", AlertRow.lease_until <= now)
    in_queue = AlertRow.state.in_(("open", "claimed", "reopened"))
    return and_(in_queue, free, or_(AlertRow.entitled_until.is_(None), AlertRow.entitled_until <= now))


def claim_next(session: Session, by: By, wanted: AlertFilter | None = None) -> Done | None:
    """Claim the most pressing alert that waits, in the open transaction; None where none does.

    Two who ask at once get two alerts: a row that another transaction holds is passed over.
    """
    found = session.scalars(
        select(AlertRow.alert_id)
        .where(AlertRow.tenant == by.tenant, waiting(by.now), *conditions(wanted or AlertFilter()))
        # What was assigned to somebody is theirs to take.
        .where(or_(AlertRow.assignee.is_(None), AlertRow.assignee == by.actor, AlertRow.state == "claimed"))
        .order_by(AlertRow.priority.desc(), AlertRow.alert_id.desc())
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    return acts.perform(session, by, found, standing.Claim()) if found is not None else None


def sweep(connection: Connection, tenant: str, now: datetime) -> int:
    """End the leases and snoozes whose time has come, with a row in the audit for each; give their number."""
    rows = connection.execute(_DUE, {"tenant": tenant, "now": now, "rows": SWEEP_ROWS}).all()
    for row in rows:
        audit.append(
            connection,
            tenant=tenant,
            at=now,
            actor="clock",
            action="alert.lease_ended" if row.was == "claimed" else "alert.woken",
            subject=f"alert/{row.alert_id}",
            before={"state": row.was},
            after={"state": row.state, "version": row.version},
        )
    return len(rows)
