"""When a record is sent: as fast as allowed while its time is past, and when it is due from then on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from services.adapters.clock import Clock

Item = TypeVar("Item")
_BURST = 100  # Records between two looks at the clock while catching up: sleeping for one record costs more than it.


def pace(
    records: Iterable[Item],
    time_of: Callable[[Item], int],
    clock: Clock,
    rate: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Item]:
    """Give records in order, none before ``time_of(record)`` ms, and past ones at most ``rate`` a second.

    A record whose time has come is never held back for longer than the rate asks, so a simulator that was stopped
    catches up instead of skipping.
    """
    started = clock.monotonic()
    sent = 0
    for record in records:
        wait = (time_of(record) - clock.now_ms()) / 1000
        if wait > 0:
            sleep(wait)
            started, sent = clock.monotonic(), 0
        elif sent % _BURST == 0:
            ahead = sent / rate - (clock.monotonic() - started)
            if ahead > 0:
                sleep(ahead)
        yield record
        sent += 1
