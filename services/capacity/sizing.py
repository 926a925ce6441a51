"""How many workers a job needs, and why: for its CPU, for the memory of one, or for the time until one is ready."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.capacity.costs import BEHIND_FACTOR, Costs, distinct_share

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.capacity.coefficients import Coefficients
    from services.capacity.demand import Demand

LEAST_PARTITIONS: Final = 8
_MEGABYTES: Final = 1000.0
MOST_WORKERS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Sized:
    """A job's workers. ``busy`` is the share of a core of each, ``reasons`` how many each need asks for."""

    workers: int
    cpu_us: float
    busy: float
    megabytes: float
    ready_seconds: float
    reasons: dict[str, int]

    @property
    def because(self) -> str:
        """Name the need that decides."""
        return max(self.reasons, key=lambda each: self.reasons[each])


def windows(demand: Demand) -> float:
    """Give the accounts of a hop, for each of its requests."""
    return distinct_share(demand.hop_requests, demand.active)


def waiting_requests(demand: Demand) -> float:
    """Give the requests whose sums wait for the end of their hop: a whole hop's, and what comes until it is told."""
    seconds = demand.hop_seconds + demand.lateness_seconds + BEHIND_FACTOR * demand.checkpoint_seconds
    return demand.requests_per_second * seconds


def checkpoint_rows(demand: Demand, workers: int = 1) -> float:
    """Give the accounts of a checkpoint, for each of its requests, where so many workers share them."""
    requests = demand.requests_per_second / workers * demand.checkpoint_seconds
    return distinct_share(requests, demand.active / workers)


def sent(demand: Demand, known: Coefficients) -> float:
    """Give the contributions that a request becomes."""
    return Costs(known).contributions(checkpoint_rows(demand))


def size_accounts(demand: Demand, known: Coefficients) -> Sized:
    """Size the accounts job."""
    costs = Costs(known)
    closing = windows(demand)

    def live_cpu(workers: int) -> float:
        return costs.accounts_cpu_us(closing, checkpoint_rows(demand, workers))

    def memory(workers: int) -> float:
        _, requests = costs.behind(demand.accounts / workers, closing, demand.checkpoint_seconds)
        return costs.accounts_megabytes(demand.accounts / workers, requests)

    def ready(workers: int) -> float:
        return costs.recovery_seconds(demand.accounts / workers)

    limit = demand.worker_gigabytes * _MEGABYTES
    reasons = {
        "CPU": _fewest(lambda n: demand.requests_per_second * live_cpu(n) / n <= demand.busy * 1e6),
        "memory": _fewest(lambda n: memory(n) <= limit),
        "recovery": _fewest(lambda n: ready(n) <= demand.recovery_seconds),
    }
    workers = max(reasons.values())
    cpu = live_cpu(workers)
    busy = demand.requests_per_second * cpu / workers / 1e6
    return Sized(workers, cpu, busy, memory(workers), ready(workers), reasons)


def size_pools(demand: Demand, known: Coefficients) -> Sized:
    """Size the pools job. To be ready it reads the contributions of the open hop again, on top of its rows."""
    costs = Costs(known)
    contributions = sent(demand, known)
    cpu = costs.pools_cpu_us(contributions, windows(demand))

    def memory(workers: int) -> float:
        return costs.pools_megabytes(demand.accounts / workers, contributions * waiting_requests(demand) / workers)

    def again(workers: int) -> float:
        """Give the seconds that a whole hop's contributions would take: at most one is open, and it is not closed."""
        return cpu * demand.hop_requests / workers / 1e6

    limit = demand.worker_gigabytes * _MEGABYTES
    reasons = {
        "CPU": _fewest(lambda n: demand.requests_per_second * cpu / n <= demand.busy * 1e6),
        "memory": _fewest(lambda n: memory(n) <= limit),
    }
    workers = max(reasons.values())
    busy = demand.requests_per_second * cpu / workers / 1e6
    ready = costs.recovery_seconds(demand.accounts / workers) + again(workers)
    return Sized(workers, cpu, busy, memory(workers), ready, reasons)


def incidents_cores(demand: Demand, known: Coefficients) -> float:
    """Give the share of a core that findings keep the incidents job busy for; above 1 it cannot be had."""
    return demand.requests_per_second * known["findings.request"] * known["incidents.cpu.finding"] / 1e6


def size_partitions(demand: Demand, workers: int) -> int:
    """Give the partitions of wide topics: a power of two that leaves room for more workers, and for every account."""
    wanted = max(demand.growth * workers, demand.growth * demand.accounts / demand.partition_accounts)
    return max(LEAST_PARTITIONS, 1 << math.ceil(math.log2(max(wanted, 1.0))))


def _fewest(enough: Callable[[int], bool]) -> int:
    """Give the fewest workers that are enough; more never are fewer. MOST_WORKERS where no number is."""
    high = 1
    while not enough(high):
        high *= 2
        if high > MOST_WORKERS:
            return MOST_WORKERS
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high
