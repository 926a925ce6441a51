"""The plan: a line for everything that an installation must have, each with the reason and the numbers behind it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from schemas.topics import FINDINGS, POOL_CONTRIBUTIONS, RAW_TOPICS, REQUESTS
from services.capacity import sizing
from services.capacity.costs import Costs
from services.capacity.demand import Demand
from services.capacity.limits import Ceiling, Note, beyond, ceilings
from services.capacity.storage import DIRTY, days_kept, kept, raw_bytes, terabytes, written

if TYPE_CHECKING:
    from services.capacity.coefficients import Coefficients

# Of jobs whose work is bounded by the budget of alerts and by what people do, whatever the traffic.
SINGLE: Final = ("learning", "decisions", "alert-sink", "relay", "subscribers", "api")
_DAY: Final = 86_400.0


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One thing, its amount, and why. ``basis`` names the coefficients and the assumptions that it is made of."""

    part: str
    what: str
    value: float
    unit: str
    because: str
    basis: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. ``notes`` say where the model may not hold, ``ceilings`` what is reached as traffic grows."""

    demand: Demand
    lines: tuple[Line, ...]
    notes: tuple[Note, ...]
    ceilings: tuple[Ceiling, ...]

    def value(self, part: str, what: str) -> float:
        """Give one line's amount; raises KeyError where there is none."""
        for line in self.lines:
            if (line.part, line.what) == (part, what):
                return line.value
        raise KeyError(f"{part}: {what}")


def make_plan(demand: Demand, known: Coefficients) -> Plan:
    """Size everything; raises DemandError where it is too much to say anything of."""
    demand.require_known_size()
    accounts, pools = sizing.size_accounts(demand, known), sizing.size_pools(demand, known)
    partitions = sizing.size_partitions(demand, max(accounts.workers, pools.workers))
    lines = [
        Line(
            part="kafka",
            what="partitions of wide topics",
            value=partitions,
            unit="partitions",
            because=f"a power of two, {demand.growth:g} times the workers of the larger job, and at most "
            f"{demand.partition_accounts:,.0f} accounts in each",
            basis=("growth",),
        ),
        *_disk(demand, known, partitions),
        *_traffic(demand, known),
        *_job("accounts", accounts, demand, ("accounts.cpu", "accounts.memory", "recovery")),
        *_job("pools", pools, demand, ("pools.cpu", "pools.memory", "recovery.seconds", "contributions")),
        *_others(demand, known),
        _database(demand, known),
        _catching_up(accounts.busy, pools.busy),
    ]
    return Plan(
        demand=demand,
        lines=tuple(lines),
        notes=tuple(beyond(demand, known, accounts, pools, partitions)),
        ceilings=tuple(ceilings(demand, known)),
    )


def _job(name: str, sized: sizing.Sized, demand: Demand, basis: tuple[str, ...]) -> list[Line]:
    asked = ", ".join(f"{reason} asks for {count:,}" for reason, count in sized.reasons.items())
    of_cpu = f"{sized.cpu_us:.1f} us of CPU a request; each is busy for {sized.busy:.0%} of a core"
    waiting = sizing.waiting_requests(demand) / sized.workers
    memory = {
        "accounts": f"{demand.accounts / sized.workers:,.0f} accounts, and the requests of a checkpoint while behind",
        "pools": f"the sums of {waiting:,.0f} requests wait for the end of their hop",
    }
    ready = {
        "accounts": f"its rows are read; {demand.session_seconds:g} s more where it died and did not leave",
        "pools": "its rows are read, and the contributions of the open hop again: at most",
    }
    return [
        Line(
            part=name,
            what="workers",
            value=sized.workers,
            unit="processes of one core",
            because=f"{asked}; {of_cpu}",
            basis=(*basis, "headroom", "worker_gigabytes"),
        ),
        Line(
            part=name,
            what="memory of a worker",
            value=sized.megabytes / 1000,
            unit="GB",
            because=memory[name],
            basis=tuple(each for each in basis if "memory" in each),
        ),
        Line(
            part=name,
            what="recovery of a worker",
            value=sized.ready_seconds,
            unit="s",
            because=ready[name],
            basis=tuple(each for each in basis if "recovery" in each),
        ),
    ]


def _others(demand: Demand, known: Coefficients) -> list[Line]:
    records = demand.requests_per_second * known["findings.request"]
    busy = sizing.incidents_cores(demand, known)
    raw = demand.requests_per_second * demand.raw_share
    cpu = Costs(known).normalise_cpu_us(demand.characters)
    return [
        Line(
            part="incidents",
            what="workers",
            value=1,
            unit="processes of one core",
            because=f"findings have one partition; {records:,.1f} a second keep it busy for {busy:.0%} of a core",
            basis=("findings.request", "incidents.cpu.finding"),
        ),
        Line(
            part="normalise",
            what="workers",
            value=math.ceil(raw * cpu / demand.busy / 1e6),
            unit="processes of one core",
            because=f"{raw:,.0f} vendors' records a second at {cpu:,.0f} us; gateways that sketch need none",
            basis=("normalise.cpu", "raw_share", "characters", "headroom"),
        ),
        Line(
            part="others",
            what="workers",
            value=len(SINGLE),
            unit="processes",
            because=f"one each of {', '.join(SINGLE)}: at most {demand.alerts_per_hour:g} new alerts an hour",
        ),
    ]


def _disk(demand: Demand, known: Coefficients, partitions: int) -> list[Line]:
    lines = []
    sizes = kept(demand, known, partitions)
    for topic, size in sizes.items():
        if topic.cleanup == "compact":
            why = f"compacted: a row for each of {demand.accounts:,.0f} accounts, {DIRTY:.0%} dirty, and open segments"
        else:
            days = days_kept(topic, demand)
            why = f"{size / days / _DAY / demand.requests_per_second:,.0f} bytes a request for {days:g} days"
        lines.append(
            Line(
                part="kafka",
                what=f"disk of {topic.name}",
                value=size * demand.replication / 1e9,
                unit="GB",
                because=f"{why}, {demand.replication:g} copies",
                basis=(f"disk.{topic.name}", "replication"),
            )
        )
    raw = demand.requests_per_second * demand.raw_share * raw_bytes(demand, known)
    if raw:
        lines.append(
            Line(
                part="kafka",
                what="disk of raw topics",
                value=raw * days_kept(RAW_TOPICS[0], demand) * _DAY * demand.replication / 1e9,
                unit="GB",
                because=f"{raw / 1e6:,.1f} MB a second, uncompressed, for {days_kept(RAW_TOPICS[0], demand) * 24:g} h",
                basis=("raw.bytes", "raw_share", "characters", "replication"),
            )
        )
    total = sum(line.value for line in lines)
    lines.append(
        Line(part="kafka", what="disk", value=total / 1000, unit="TB", because="the sum of these", basis=("disk",))
    )
    return lines


def _database(demand: Demand, known: Coefficients) -> Line:
    alert = Costs(known).alert_bytes(demand.members)
    alerts = demand.alerts_per_hour * 24 * demand.database_days
    return Line(
        part="postgres",
        what="disk",
        value=alerts * demand.revisions * alert / 1e9,
        unit="GB",
        because=f"at most {alerts:,.0f} alerts in {demand.database_days:g} days, {demand.revisions:g} revisions of "
        f"{alert:,.0f} bytes with {demand.members:g} members",
        basis=("postgres", "members", "revisions"),
    )


def _traffic(demand: Demand, known: Coefficients) -> list[Line]:
    rates = written(demand, known)
    into = sum(rates.values())
    read = rates[REQUESTS] + rates[POOL_CONTRIBUTIONS] + rates[FINDINGS]
    copies = into * (demand.replication - 1)
    cores = demand.requests_per_second * known["broker.cpu.request"] * demand.replication / demand.busy / 1e6
    reasons = {
        "copies": demand.replication,
        "disk": terabytes(demand, known) / demand.broker_terabytes,
        "network": (into + copies) / 1e6 / demand.broker_megabytes_per_second,
    }
    return [
        Line(
            part="kafka",
            what="network",
            value=(into + copies + read) / 1e6,
            unit="MB/s",
            because=f"{into / 1e6:,.1f} written, {copies / 1e6:,.1f} for copies, {read / 1e6:,.1f} read by the jobs",
            basis=("disk", "replication"),
        ),
        Line(
            part="kafka",
            what="brokers",
            value=max(math.ceil(each) for each in reasons.values()),
            unit="brokers",
            because=", ".join(f"{reason} ask for {math.ceil(count):,}" for reason, count in reasons.items()),
            basis=("disk", "replication", "broker_terabytes", "broker_megabytes_per_second"),
        ),
        Line(
            part="kafka",
            what="cores of the brokers",
            value=cores,
            unit="cores",
            because=f"{known['broker.cpu.request']:.0f} us a request with one copy; a copy is taken to cost the same",
            basis=("broker.cpu.request", "replication", "headroom"),
        ),
    ]


def _catching_up(accounts: float, pools: float) -> Line:
    busiest = max(accounts, pools)
    return Line(
        part="recovery",
        what="catching up an outage of an hour",
        value=60 * busiest / (1 - busiest) if busiest < 1 else math.inf,
        unit="min",
        because=f"a worker that is busy for {busiest:.0%} of its core has the rest to catch up with",
        basis=("headroom",),
    )
