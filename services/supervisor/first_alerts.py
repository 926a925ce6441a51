"""The first alerts of a run, told in the terminal: a newcomer should not have to ask."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

SHOWN: Final = 5
_SECONDS: Final = 2.0
_TIMEOUT: Final = 5.0


class AlertLine(msgspec.Struct, frozen=True):
    """What of an alert fits on a line."""

    alert_id: str
    severity: str
    title: str


class _Page(msgspec.Struct, frozen=True):
    items: list[AlertLine]


def fetch(api_url: str) -> list[AlertLine]:
    """Ask the API for alerts; none where it does not answer now, for it may be restarting."""
    try:
        with urllib.request.urlopen(f"{api_url}/v1/alerts?limit=100", timeout=_TIMEOUT) as answer:  # noqa: S310 - our own loopback URL
            return msgspec.json.decode(answer.read(), type=_Page).items
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return []


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
