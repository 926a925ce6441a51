"""The one place that reads the wall clock. Everything else takes time as a parameter."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What tells the time."""

    def now_ms(self) -> int:
        """Give ms since the epoch, UTC."""

    def monotonic(self) -> float:
        """Give seconds that never go back, from an arbitrary start."""


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Give ms since the epoch, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Give seconds that never go back, from an arbitrary start."""
        return time.monotonic()


def utc_now() -> datetime:
    """Give the present moment with its zone."""
    return datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
