"""The first alerts of a run, told in the terminal: a newcomer should not have to ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

SHOWN: Final = 5
_SECONDS: Final = 2.0


class AlertLine(msgspec.Struct, frozen=True):
    """What of an alert fits on a line."""

    alert_id: str
    severity: str
    title: str


def fetch(database_url: str, tenant: str) -> list[AlertLine]:
    """Read the newest alerts; none where the database does not answer now, for it may be restarting."""
    # SQLAlchemy takes half a second to import, which a start need not wait for.
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - as told above
    from sqlalchemy.orm import Session  # noqa: PLC0415 - as told above

    from services.adapters.postgres.alerts import list_alerts  # noqa: PLC0415 - as told above
    from services.adapters.postgres.engine import create_engine  # noqa: PLC0415 - as told above

    engine = create_engine(database_url, process="first-alerts", pool_size=1)
    try:
        with Session(engine) as session:
            rows = list_alerts(session, tenant, limit=100).rows
            return [AlertLine(row.alert_id, row.severity, row.title) for row in rows]
    except DBAPIError:
        return []
    finally:
        engine.dispose()


async def tell_first_alerts(
    say: Callable[[str], None],
    look: Callable[[], Sequence[AlertLine]],
    api_url: str,
    shown: int = SHOWN,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Say each new alert on a line until ``shown`` were said. Alerts that were there before are said too."""
    told: set[str] = set()
    while True:
        for alert in reversed(await asyncio.to_thread(look)):
            if alert.alert_id not in told and len(told) < shown:
                told.add(alert.alert_id)
                say(f"  alert  {alert.severity:<8}  {alert.title}  {api_url}/alerts/{alert.alert_id}")
        if len(told) >= shown:
            return
        await sleep(_SECONDS)
