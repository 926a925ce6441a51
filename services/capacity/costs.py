"""What one worker costs by what it is given: CPU for each request, memory, and the time to be ready again.

The two jobs' costs follow from how they work. A request is counted (by request), its account's row is written once in
a checkpoint however often it came (by row), and its account's window is closed once in a hop (by window). The pools job
keeps what a hop has sent until every source has closed it: its memory grows with the contributions of a hop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from services.capacity.coefficients import Coefficients

BEHIND_FACTOR: Final = 5.0  # As in stream_jobs.engine.worker, which a test compares.
_TURNS: Final = 8


def distinct_share(requests: float, accounts: float) -> float:
    """Give how many different accounts so many requests come from, for each request.

    As if every account were as busy as any other: skewed traffic has fewer, so this is the upper bound.
    """
    if requests <= 0:
        return 1.0
    return -accounts * math.expm1(-requests / accounts) / requests


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs that the coefficients make. Microseconds of CPU, megabytes and seconds."""

    of: Coefficients

    def accounts_cpu_us(self, windows: float, rows: float) -> float:
        """Give the accounts job's CPU for a request; ``windows`` and ``rows`` are those for each request."""
        return (
            self.of["accounts.cpu.request"]
            + self.of["accounts.cpu.window"] * windows
            + self.of["accounts.cpu.row"] * rows
        )

    def contributions(self, rows: float) -> float:
        """Give the contributions that a request becomes: those of one account are added up within a checkpoint."""
        return self.of["contributions.request"] + self.of["contributions.row"] * rows

    def pools_cpu_us(self, contributions: float, windows: float) -> float:
        """Give the pools job's CPU for a request that has become so many contributions."""
        return self.of["pools.cpu.contribution"] * contributions + self.of["pools.cpu.window"] * windows

    def behind(self, accounts: float, windows: float, checkpoint_seconds: float) -> tuple[float, float]:
        """Give a worker's CPU for a request while it catches up, and how many requests are in one checkpoint then."""
        requests = 1.0
        cpu = self.accounts_cpu_us(windows, 1.0)
        for _ in range(_TURNS):
            requests = BEHIND_FACTOR * checkpoint_seconds * 1e6 / cpu
            cpu = self.accounts_cpu_us(windows, distinct_share(requests, accounts))
        return cpu, requests

    def accounts_megabytes(self, accounts: float, checkpoint_requests: float) -> float:
        """Give the largest memory of an accounts worker: while it catches up, or while it reads its state again."""
        working = (
            self.of["accounts.memory.base"]
            + self.of["accounts.memory.account"] * accounts
            + self.of["accounts.memory.checkpoint_request"] * checkpoint_requests
        )
        return max(working, self.recovery_megabytes(accounts))

    def recovery_megabytes(self, accounts: float) -> float:
        """Give the largest memory while the state is read."""
        return self.of["recovery.memory.base"] + self.of["recovery.memory.account"] * accounts

    def pools_megabytes(self, accounts: float, contributions: float) -> float:
        """Give the largest memory of a pools worker that holds so many contributions of open hops."""
        return (
            self.of["pools.memory.base"]
            + self.of["pools.memory.account"] * accounts
            + self.of["pools.memory.contribution"] * contributions
        )

    def recovery_seconds(self, accounts: float) -> float:
        """Give the time from partitions to the first record for a worker with so many accounts."""
        return self.of["recovery.seconds.base"] + self.of["recovery.seconds.account"] * accounts

    def normalise_cpu_us(self, characters: float) -> float:
        """Give the normaliser's CPU for a vendor's record with a prompt of so many characters."""
        return self.of["normalise.cpu.record"] + self.of["normalise.cpu.character"] * characters

    def alert_bytes(self, members: float) -> float:
        """Give what a revision of an alert with so many members takes in Postgres, indexes too."""
        return self.of["postgres.alert"] + self.of["postgres.member"] * members
