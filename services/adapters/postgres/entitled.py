"""Alerts that name nobody but entitled accounts: they leave the queue and do not reopen. An entitlement always wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

_REFRESH: Final = text("""
    UPDATE alerts SET entitled_until = cover.ends
      FROM (SELECT member.alert_id,
                   CASE WHEN bool_and(grant_of.ends IS NOT NULL) THEN min(grant_of.ends) END AS ends
              FROM campaign_members AS member
              LEFT JOIN LATERAL (
                   SELECT max(held.valid_until + held.grace_ms * interval '1 ms') AS ends FROM entitlements AS held
                    WHERE held.tenant = member.tenant AND held.subject IN (member.account, member.customer)
                      AND held.revoked_at IS NULL AND held.valid_from <= :now
                      AND held.valid_until + held.grace_ms * interval '1 ms' > :now
                   ) AS grant_of ON true
             WHERE member.tenant = :tenant AND member.alert_id = ANY(CAST(:alerts AS text[]))
             GROUP BY member.alert_id) AS cover
     WHERE alerts.tenant = :tenant AND alerts.alert_id = cover.alert_id
       AND alerts.entitled_until IS DISTINCT FROM cover.ends
""")
_NAMING: Final = text("""
    SELECT DISTINCT alert_id FROM campaign_members
     WHERE tenant = :tenant AND (account = :subject OR customer = :subject)
     ORDER BY alert_id
""")


def refresh(connection: Connection, tenant: str, alert_ids: Sequence[str], now: datetime) -> None:
    """Look at these alerts anew."""
    if alert_ids:
        connection.execute(_REFRESH, {"tenant": tenant, "alerts": list(alert_ids), "now": now})


def refresh_subject(connection: Connection, tenant: str, subject: str, now: datetime) -> None:
    """Look anew at every alert that names an account or an organisation."""
    names = connection.execute(_NAMING, {"tenant": tenant, "subject": subject}).scalars().all()
    refresh(connection, tenant, names, now)
