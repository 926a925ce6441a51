"""Bounded retry: the waits as a value, and a wait that a stop signal cuts short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from services.adapters.postgres.engine import describe, is_transient
from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

Result = TypeVar("Result")


class Stopped(Exception):  # noqa: N818 - it is no error: the process was asked to end
    """A stop was asked for while an act waited for its next try; what was not committed comes again."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from ``first`` to ``longest`` seconds, ``budget`` seconds in all.

    Ten minutes outlast a failover or a restart with recovery; after them a supervisor should know.
    """

    first: float = 0.1
    longest: float = 10.0
    budget: float = 600.0

    def wait(self, attempt: int, spent: float) -> float | None:
        """Give the seconds before try ``attempt`` + 1 (counted from 1); None where the budget is spent."""
        wait = min(self.longest, self.first * 2 ** min(attempt - 1, 20))
        return wait if spent + wait <= self.budget else None


def keep_trying(act: Callable[[], Result], stop: threading.Event, backoff: Backoff, name: str) -> Result:
    """Do an act until it passes. Only transient database errors are tried again; anything else, or too many, is raised.

    Raises ``Stopped`` where ``stop`` is set while it waits.
    """
    attempt, spent = 0, 0.0
    while True:
        try:
            return act()
        except Exception as error:
            attempt += 1
            wait = backoff.wait(attempt, spent) if is_transient(error) else None
            if wait is None:
                raise
            get_logger().warning("database.retry", act=name, attempt=attempt, wait_seconds=wait, error=describe(error))
        if stop.wait(wait):
            raise Stopped
        spent += wait
