"""What the supervisor is told about one part: how to run it, when it is ready, what to do when it ends."""

from __future__ import annotations

import graphlib
from dataclasses import dataclass, field
from enum import StrEnum
from signal import SIGKILL, SIGTERM, Signals
from typing import TYPE_CHECKING

from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random


class PartsError(StillwatchError):
    """The parts contradict each other: a name twice, an unknown one in `after`, or a circle."""


class State(StrEnum):
    """Where a part stands."""

    WAITING = "waiting"  # for the parts that it comes after
    STARTING = "starting"  # its process runs and is not ready yet
    READY = "ready"
    UNREADY = "unready"  # was ready, runs, and says that it is not ready now
    DONE = "done"  # a task that ended well
    RESTARTING = "restarting"  # its process ended; the next try waits out the backoff
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"  # could not start; the supervisor gives up


@dataclass(frozen=True)
class ReadyState:
    """A part's own word: whether it is ready, and why not. ``answers`` is False where it said nothing at all."""

    ready: bool
    detail: str = ""
    answers: bool = True


@dataclass(frozen=True)
class RestartPolicy:
    """When a part is started again. Times are seconds; they suit processes that start in one to ten."""

    first_delay: float = 0.5
    factor: float = 2.0
    longest_delay: float = 30.0
    # A fraction of the delay, added or taken away at random, so that parts that fell together do not rise together.
    jitter: float = 0.2
    # After this long in good health the next crash counts as the first again.
    healthy_after: float = 30.0
    # Starts that may fail before the part was ever ready; once it was, it is restarted for good.
    max_attempts: int = 3
    # A start that takes longer has failed.
    start_timeout: float = 60.0
    # A part that was ready and has not answered at all for so long hangs: it is killed and started again.
    hang_timeout: float = 60.0

    def delay(self, failures: int, random: Random) -> float:
        """Return the wait before the next start after this many failures in a row (at least 1)."""
        plain = min(self.longest_delay, self.first_delay * self.factor ** (failures - 1))
        return plain * (1 + self.jitter * (2 * random.random() - 1))


def always_ready() -> ReadyState:
    """Be ready as soon as the process runs."""
    return ReadyState(ready=True)


@dataclass(frozen=True)
class Part:
    """One process to keep alive, or (`task`) to run once to a good end before what comes after it.

    With `may_end` a good end after being ready is the part's own right (a simulation that is over), not a crash. `env`
    is added to the supervisor's environment. `ready` may block for a second or two; it is asked in a thread. `ports` is
    shown by `stillwatch status`.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], ReadyState] = always_ready
    after: tuple[str, ...] = ()
    task: bool = False
    may_end: bool = False
    stop_timeout: float = 15.0
    stop_signal: Signals = SIGTERM
    death_signal: Signals = SIGKILL
    restart: RestartPolicy = RestartPolicy()
    ports: Mapping[str, int] = field(default_factory=dict)


def in_order(parts: Sequence[Part]) -> list[Part]:
    """Return the parts so that each stands behind those it comes after; raises PartsError."""
    named = {part.name: part for part in parts}
    if len(named) != len(parts):
        raise PartsError("Two parts have the same name.")
    unknown = {name for part in parts for name in part.after} - set(named)
    if unknown:
        raise PartsError(f"Parts come after {sorted(unknown)}, which are not among them.")
    try:
        return [named[name] for name in graphlib.TopologicalSorter({p.name: p.after for p in parts}).static_order()]
    except graphlib.CycleError as error:
        raise PartsError(f"Parts wait for each other in a circle: {' -> '.join(error.args[1])}.") from error
