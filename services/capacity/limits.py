"""What is reached as traffic grows, at which rate, and where the model is not known to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from services.capacity import sizing
from services.capacity.storage import terabytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.capacity.coefficients import Coefficients
    from services.capacity.demand import Demand
    from services.capacity.sizing import Sized

SHIPPED_PARTITIONS: Final = (8, 64)  # Of one machine, and of clusters: services.settings.
FAR: Final = 1e9  # A ceiling beyond so many requests a second is none.
_STEPS: Final = 32  # Of a bisection over twelve decades: to a millionth.
_NEAR: Final = 0.2  # So far beyond a measurement the checks have held.


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Where the plan goes beyond what was measured, or beyond what the product can do (``impossible``)."""

    what: str
    why: str
    impossible: bool = False


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is reached at so many requests a second, accounts growing alike, and what to do then."""

    what: str
    requests_per_second: float
    then: str


def ceilings(demand: Demand, known: Coefficients) -> list[Ceiling]:
    """Give what is reached as traffic and accounts grow together, the lowest first."""
    found = [
        Ceiling(what=what, requests_per_second=rate, then=then)
        for what, then, holds in _limits(known)
        if (rate := _highest(demand, holds)) < FAR
    ]
    return sorted(found, key=lambda each: each.requests_per_second)


def _limits(known: Coefficients) -> list[tuple[str, str, Callable[[Demand], bool]]]:
    def pools(demand: Demand) -> Sized:
        return sizing.size_pools(demand, known)

    def accounts(demand: Demand) -> Sized:
        return sizing.size_accounts(demand, known)

    few, many = SHIPPED_PARTITIONS
    return [
        ("one core for the pools job", "start more pools workers", lambda d: pools(d).reasons["CPU"] <= 1),
        ("one core for the accounts job", "start more accounts workers", lambda d: accounts(d).reasons["CPU"] <= 1),
        (
            "memory of one pools worker",
            "more pools workers, or shorter hops: sums wait for the end of their hop",
            lambda d: pools(d).reasons["memory"] <= 1,
        ),
        ("memory of one accounts worker", "more accounts workers", lambda d: accounts(d).reasons["memory"] <= 1),
        (
            "an accounts worker's recovery within its time",
            "more accounts workers, so that each reads fewer rows",
            lambda d: accounts(d).reasons["recovery"] <= 1,
        ),
        *(
            (
                f"{partitions} partitions: workers",
                "more partitions, which means new topics and a replay of what is kept",
                lambda d, partitions=partitions: max(pools(d).workers, accounts(d).workers) <= partitions,
            )
            for partitions in (few, many)
        ),
        *(
            (
                f"{partitions} partitions: accounts",
                "more partitions, or a higher `maximum_accounts`: the least recent accounts are forgotten",
                lambda d, partitions=partitions: d.accounts <= partitions * d.partition_accounts,
            )
            for partitions in (few, many)
        ),
        (
            "the disk of as many brokers as copies",
            "more brokers, fewer days of requests, or tiered storage",
            lambda d: terabytes(d, known) <= d.replication * d.broker_terabytes,
        ),
        (
            "the busiest account fills its worker",
            "nothing moves one account's partition to two workers: a faster core",
            lambda d: d.requests_per_second * d.largest_account * accounts(d).cpu_us <= d.busy * 1e6,
        ),
        (
            "the busiest pool fills its worker",
            "nothing splits one pool: a faster core, or leave its family out",
            lambda d: d.requests_per_second * d.largest_pool * pools(d).cpu_us <= d.busy * 1e6,
        ),
        (
            "one core for the incidents job",
            "findings have one partition: higher thresholds, or fewer milestones",
            lambda d: sizing.incidents_cores(d, known) <= d.busy,
        ),
        (
            "the most partitions that a topic may be given",
            "several installations, each with its own accounts",
            lambda d: sizing.size_partitions(d, max(pools(d).workers, accounts(d).workers)) <= d.most_partitions,
        ),
    ]


def _highest(demand: Demand, holds: Callable[[Demand], bool]) -> float:
    """Give the rate at which a condition that is true for little traffic ceases to hold; FAR where it never does."""
    low, high = 1e-3 / demand.requests_per_second, FAR / demand.requests_per_second
    if holds(demand.times(high)):
        return FAR
    if not holds(demand.times(low)):
        return 0.0
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        if holds(demand.times(middle)):
            low = middle
        else:
            high = middle
    return demand.requests_per_second * high


def beyond(demand: Demand, known: Coefficients, accounts: Sized, pools: Sized, partitions: int) -> Iterator[Note]:
    """Say what of the plan is beyond what was measured, and what cannot be had at all."""
    yield from _impossible(demand, known, accounts, pools, partitions)
    hop = sizing.waiting_requests(demand) / pools.workers
    for what, value in (
        ("accounts of a worker", demand.accounts / accounts.workers),
        ("requests of a hop in a pools worker", hop),
        ("partitions of a worker", partitions / min(accounts.workers, pools.workers)),
        ("workers of a job", float(max(accounts.workers, pools.workers))),
        ("copies of a record", demand.replication),
    ):
        among = known.measured[what]
        if value > among.high * (1 + _NEAR):
            span = f"{among.low:,.0f}" if among.low == among.high else f"{among.low:,.0f} to {among.high:,.0f}"
            yield Note(
                what=f"{value:,.0f} {what}",
                why=f"measured at {span}; beyond that the model goes on in a straight line",
            )
    pairs = demand.accounts * known["contributions.request"] / partitions
    if pairs > demand.partition_pairs:
        yield Note(
            what=f"{pairs:,.0f} pairs of pool and customer in a partition, if each account has pools of its own",
            why=f"a partition keeps the newest {demand.partition_pairs:,.0f}: pools that stay small are forgotten",
        )


def _impossible(demand: Demand, known: Coefficients, accounts: Sized, pools: Sized, partitions: int) -> Iterator[Note]:
    if partitions > demand.most_partitions:
        yield Note(
            what=f"{partitions:,} partitions",
            why=f"the setting takes {demand.most_partitions:,} at most: plan several installations",
            impossible=True,
        )
    if max(accounts.workers, pools.workers) >= sizing.MOST_WORKERS:
        yield Note(
            what=f"a worker of {demand.worker_gigabytes:g} GB that is ready in {demand.recovery_seconds:g} s",
            why="it takes more than that without an account: give it more",
            impossible=True,
        )
    for what, busy in (
        ("the busiest account's worker", demand.requests_per_second * demand.largest_account * accounts.cpu_us / 1e6),
        ("the busiest pool's worker", demand.requests_per_second * demand.largest_pool * pools.cpu_us / 1e6),
        ("the incidents job", sizing.incidents_cores(demand, known)),
    ):
        if busy > 1:
            yield Note(
                what=f"{what} would need {busy:.1f} cores",
                why="one partition is one worker's, and a worker has one core",
                impossible=True,
            )
