"""Time: when a silent partition's clock may move on, and by how much. Pure; the wall clock is a parameter.

The result is written to the partition as a control record, and only that record counts: a replay of the log sees the
same times, whatever the wall clocks said. The offsets that a checkpoint commits carry each partition's clock in their
metadata, so that a worker knows the clocks of partitions that other workers hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True, slots=True)
class PartitionClock:
    """The largest event time of a partition's accepted records, and the append time of the last of them; both ms."""

    event_ms: int
    appended_ms: int

    def advanced(self, event_ms: int, appended_ms: int) -> PartitionClock:
        """Give the clock after one more accepted record, or a batch of them."""
        return PartitionClock(max(self.event_ms, event_ms), max(self.appended_ms, appended_ms))

    def text(self) -> str:
        """Write the clock as offset metadata."""
        return f"{self.event_ms},{self.appended_ms}"


def read_clock(text: str | None) -> PartitionClock | None:
    """Read offset metadata; None where it holds no clock."""
    event, comma, appended = (text or "").partition(",")
    if not (comma and event.isdecimal() and appended.isdecimal()):
        return None
    return PartitionClock(int(event), int(appended))


def idle_time(own: PartitionClock | None, others: Collection[PartitionClock], now_ms: int, idle_ms: int) -> int | None:
    """Give the event time for a control record on a partition at its end, or None where none is due.

    ``own`` is None for a partition that never had a record. A live stream's event time follows the wall clock, so a
    silent partition's does: last event time plus the wall time since its append. A replay's does not: while other
    partitions get records, the silent one follows the slowest of them; once all are silent, the furthest of them, for
    then nothing is under way any more. Never ahead of the wall clock, and never back.
    """
    if own is not None and now_ms - own.appended_ms < idle_ms:
        return None
    known = [*others] if own is None else [*others, own]
    if not known:
        return None
    active = [clock.event_ms for clock in others if now_ms - clock.appended_ms < idle_ms]
    if active:
        reached = min(active)
    else:
        reached = max(clock.event_ms for clock in known) + now_ms - max(clock.appended_ms for clock in known)
    if own is not None:
        reached = max(reached, own.event_ms + now_ms - own.appended_ms)
    reached = min(reached, now_ms)
    return reached if own is None or reached > own.event_ms else None
