"""Fits the capacity model's coefficients, checks them on what was held back, and writes both.

Least squares of relative errors with coefficients that are not negative, so that a small point counts as much as a
large one and no cost is a gain. The range of a coefficient is what it becomes when each point is left out in turn.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from capacity_points import Point
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls

from services.capacity.coefficients import Assumption, Check, Coefficient, Coefficients, Range
from services.capacity.costs import Costs, distinct_share

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.adapters.clock import Clock

COMMAND: Final = "python tests/benchmarks/engines/capacity.py"
Row = dict[str, Any]
Terms = tuple[tuple[str, str, str, "Callable[[Row], float]"], ...]
# What is fitted: the measured value, and by coefficient its unit, its meaning and what it is multiplied with.
ACCOUNTS_CPU: Final[Terms] = (
    ("accounts.cpu.request", "us", "accounts job: CPU for a request", lambda _: 1.0),
    (
        "accounts.cpu.window",
        "us",
        "accounts job: CPU for an account's window when its hop closes",
        lambda r: r["windows"],
    ),
    ("accounts.cpu.row", "us", "accounts job: CPU for an account of a checkpoint", lambda r: r["rows"]),
)
POOLS_CPU: Final[Terms] = (
    ("pools.cpu.contribution", "us", "pools job: CPU for a contribution", lambda r: r["contributions"]),
    ("pools.cpu.window", "us", "pools job: CPU for an account of a closing hop", lambda r: r["pools_windows"]),
)
CONTRIBUTIONS: Final[Terms] = (
    ("contributions.request", "rows", "contributions for a request", lambda _: 1.0),
    ("contributions.row", "rows", "contributions more, for an account of a checkpoint", lambda r: r["rows"]),
)
POOLS_STATE: Final[Terms] = (
    ("disk.pools-state.window", "bytes", "pools-state written for an account of a hop", lambda r: r["pools_windows"]),
    ("disk.pools-state.row", "bytes", "pools-state written for an account of a checkpoint", lambda r: r["rows"]),
)
BROKER: Final[Terms] = (
    ("broker.cpu.request", "us", "broker, one copy: CPU for a request through both jobs", lambda _: 1.0),
    (
        "broker.cpu.run",
        "s",
        "broker: CPU of a measurement, whatever its size; no part of a plan",
        lambda r: 1e6 / r["events"],
    ),
)
ACCOUNTS_MEMORY: Final[Terms] = (
    ("accounts.memory.base", "MB", "accounts worker, 8 partitions: memory without accounts", lambda _: 1.0),
    ("accounts.memory.account", "MB", "accounts worker: memory for an account", lambda r: r["seen"]),
    (
        "accounts.memory.checkpoint_request",
        "MB",
        "accounts worker: memory for a request of one checkpoint",
        lambda r: r["checkpoint_requests"],
    ),
)
POOLS_MEMORY: Final[Terms] = (
    ("pools.memory.base", "MB", "pools worker, 8 partitions: memory without pools", lambda _: 1.0),
    ("pools.memory.account", "MB", "pools worker: memory for an account's pools", lambda r: r["seen"]),
    (
        "pools.memory.contribution",
        "MB",
        "pools worker: memory for a contribution whose hop is open",
        lambda r: r["waiting_requests"] * r["contributions"],
    ),
)
RECOVERY: Final[Terms] = (
    ("recovery.seconds.base", "s", "an accounts worker gets its partitions: time without accounts", lambda _: 1.0),
    (
        "recovery.seconds.account",
        "s",
        "an accounts worker reads its state: time for an account",
        lambda r: r["accounts"],
    ),
)
RECOVERY_MEMORY: Final[Terms] = (
    ("recovery.memory.base", "MB", "an accounts worker reads its state: memory without accounts", lambda _: 1.0),
    (
        "recovery.memory.account",
        "MB",
        "an accounts worker reads its state: memory for an account",
        lambda r: r["accounts"],
    ),
)
NORMALISE: Final[Terms] = (
    ("normalise.cpu.record", "us", "normaliser: CPU for a vendor's record", lambda _: 1.0),
    ("normalise.cpu.character", "us", "normaliser: CPU for a character of its prompt", lambda r: r["characters"]),
)
RAW: Final[Terms] = (
    ("raw.bytes.record", "bytes", "raw topics: a vendor's record", lambda _: 1.0),
    ("raw.bytes.character", "bytes", "raw topics: a character of its prompt", lambda r: r["characters"]),
)
POSTGRES: Final[Terms] = (
    ("postgres.alert", "bytes", "Postgres: a revision of an alert, indexes too", lambda _: 1.0),
    ("postgres.member", "bytes", "Postgres: a member of an alert", lambda r: r["members"]),
)
ASSUMPTIONS: Final = {
    "headroom": (0.5, "share of a core", "a worker that is half busy catches up an outage in the time that it took"),
    "growth": (2.0, "times", "partitions are fixed at creation: so many times the workers may be started later"),
    "replication": (3.0, "copies", "a cluster of three brokers and more loses one without a loss"),
    "worker_gigabytes": (8.0, "GB", "the memory limit of one worker"),
    "recovery_seconds": (60.0, "s", "a worker that is replaced should be ready in this time"),
    "session_seconds": (10.0, "s", "STILLWATCH_SESSION_TIMEOUT_MS: a worker that dies is missed after this time"),
    "active_share": (1.0, "share of accounts", "every account may send in any hop: the most that it can cost"),
    "raw_share": (0.0, "share of requests", "gateways sketch themselves; what comes as vendors' records is normalised"),
    "characters": (4_000.0, "characters", "of a prompt that the normaliser reads"),
    "largest_account": (0.001, "share of requests", "the busiest account: its partition gets this beside its share"),
    "largest_pool": (0.02, "share of contributions", "the busiest pool: its partition gets this beside its share"),
    "members": (100.0, "accounts", "of an alert"),
    "revisions": (4.0, "revisions", "of an alert: it is told again when it has grown by a quarter"),
    "broker_terabytes": (8.0, "TB", "disk of one broker; not measured"),
    "broker_megabytes_per_second": (200.0, "MB/s", "written to one broker, copies too; not measured"),
}


def machine() -> str:
    """Say on what kind of machine this runs."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{platform.machine()} {name}, {os.cpu_count()} cores, Python {platform.python_version()}".replace("  ", " ")


def fit(rows: Sequence[Row], value: str, terms: Terms, origin: dict[str, str]) -> dict[str, Coefficient]:
    """Fit one quantity."""
    matrix = np.array([[term(row) for *_, term in terms] for row in rows])
    target = np.array([row[value] for row in rows])

    def solve(keep: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        scaled = matrix[keep] / target[keep, None]
        # Columns differ by orders of magnitude: the solver's tolerance is absolute.
        size = np.maximum(scaled.max(axis=0), 1e-300)
        found: np.ndarray[Any, np.dtype[np.float64]] = nnls(scaled / size, np.ones(len(scaled)))[0] / size
        return found

    everything = np.ones(len(rows), bool)
    found = solve(everything)
    others = [found]
    if len(rows) > len(terms):
        for place in range(len(rows)):
            keep = everything.copy()
            keep[place] = False
            others.append(solve(keep))
    return {
        name: Coefficient(
            value=float(found[at]),
            low=float(min(other[at] for other in others)),
            high=float(max(other[at] for other in others)),
            unit=unit,
            meaning=meaning,
            **origin,
        )
        for at, (name, unit, meaning, _) in enumerate(terms)
    }


def mean(
    rows: Sequence[Row], unit: str, meaning: str, value: Callable[[Row], float], origin: dict[str, str]
) -> Coefficient:
    """Take the mean of what the points say, and their range."""
    found = [value(row) for row in rows]
    return Coefficient(
        value=float(np.mean(found)), low=min(found), high=max(found), unit=unit, meaning=meaning, **origin
    )


def largest(
    rows: Sequence[Row], unit: str, meaning: str, value: Callable[[Row], float], origin: dict[str, str]
) -> Coefficient:
    """Take the largest of what the points say, for what depends on the traffic more than on us."""
    return msgspec.structs.replace(each := mean(rows, unit, meaning, value, origin), value=each.high)


def coefficients(known: dict[str, Any], date: str) -> dict[str, Coefficient]:
    """Fit everything."""
    origin = {"command": COMMAND, "date": date, "machine": machine()}
    points = [_with_shares(point) for point in known.values() if isinstance(point, dict) and point.get("use") == "fit"]
    recovered = [each for each in known["recovery"] if each["use"] == "fit"]
    sides = known["sides"]
    found = fit(points, "accounts_cpu_us", ACCOUNTS_CPU, origin)
    found |= fit(points, "pools_cpu_us", POOLS_CPU, origin)
    found |= fit(points, "contributions", CONTRIBUTIONS, origin)
    found |= fit([point | {"state": point["bytes"]["pools-state"]} for point in points], "state", POOLS_STATE, origin)
    found |= fit(points, "broker_cpu_us", BROKER, origin)
    found |= fit(points, "accounts_megabytes", ACCOUNTS_MEMORY, origin)
    found |= fit(points, "pools_megabytes", POOLS_MEMORY, origin)
    found |= fit(recovered, "seconds", RECOVERY, origin)
    found |= fit(recovered, "megabytes", RECOVERY_MEMORY, origin)
    found |= fit(sides["normalise"], "cpu_us", NORMALISE, origin)
    found |= fit(sides["normalise"], "bytes", RAW, origin)
    found |= fit(sides["database"], "bytes", POSTGRES, origin)
    found |= {
        "findings.request": largest(
            points, "records", "records of findings for a request", lambda r: r["records"]["findings"], origin
        ),
        "incidents.cpu.finding": largest(
            [known["incidents"]], "us", "incidents job: CPU for a record of findings", lambda r: r["cpu_us"], origin
        ),
        "disk.account-windows.window": mean(
            points,
            "bytes",
            "on disk, compressed: account-windows for an account's window of a hop",
            lambda r: r["bytes"]["account-windows"] / r["windows_of_a_hop"],
            origin,
        ),
        "disk.accounts-state.account": mean(
            recovered, "bytes", "on disk, compressed: a row of accounts-state", lambda r: r["disk_bytes"], origin
        ),
        "disk.pools-state.account": largest(
            points,
            "bytes",
            "newest rows of pools-state for an account",
            lambda r: r["pools_live_bytes"] / r["seen"],
            origin,
        ),
        "disk.pool-contributions.contribution": mean(
            points,
            "bytes",
            "on disk, compressed: a contribution",
            lambda r: r["bytes"]["pool-contributions"] / r["contributions"],
            origin,
        ),
    }
    for topic in ("requests", "findings"):
        found[f"disk.{topic}.request"] = mean(
            points,
            "bytes",
            f"on disk, compressed: {topic} for a request",
            lambda r, topic=topic: r["bytes"][topic],
            origin,
        )
    return found


def _with_shares(point: Row) -> Row:
    """Add what follows from the size: the accounts of a hop and of a checkpoint, for each request."""
    size = Point(**{field.name: point[field.name] for field in fields(Point)})
    chunk = point["checkpoint_requests"]
    return point | {
        "windows_of_a_hop": size.windows,
        "rows": size.distinct(chunk) / chunk,
        "seen": size.distinct(point["events"]),
    }


def checks(costs: Costs, known: dict[str, Any]) -> list[Check]:
    """Hold the model against the points that it was not fitted on. It is told their sizes, and nothing measured."""
    found: list[Check] = []
    for point in known.values():
        if not isinstance(point, dict) or point.get("use") != "held":
            continue
        seen = _with_shares(point)["seen"]
        cpu, requests = costs.behind(point["accounts"], point["windows"], point["checkpoint"])
        sent = costs.contributions(distinct_share(requests, point["accounts"]))
        pools = costs.pools_cpu_us(sent, point["pools_windows"])
        waiting = (point["a_hop"] + requests) * sent
        for what, predicted, measured, unit in (
            ("accounts job, requests a second of a core", 1e6 / cpu, 1e6 / point["accounts_cpu_us"], "1/s"),
            ("pools job, requests a second of a core", 1e6 / pools, 1e6 / point["pools_cpu_us"], "1/s"),
            (
                "accounts worker, memory",
                costs.accounts_megabytes(seen, requests),
                point["accounts_megabytes"],
                "MB",
            ),
            ("pools worker, memory", costs.pools_megabytes(seen, waiting), point["pools_megabytes"], "MB"),
        ):
            found.append(Check(what=what, point=point["name"], predicted=predicted, measured=measured, unit=unit))
    for each in known["recovery"]:
        if each["use"] == "held":
            name = f"{each['accounts']:,} accounts"
            seconds, memory = costs.recovery_seconds(each["accounts"]), costs.recovery_megabytes(each["accounts"])
            found += [
                Check(what="recovery, time", point=name, predicted=seconds, measured=each["seconds"], unit="s"),
                Check(what="recovery, memory", point=name, predicted=memory, measured=each["megabytes"], unit="MB"),
            ]
    return found


def write(known: dict[str, Any], out: Path, clock: Clock) -> None:
    """Fit, check, write, and print the checks."""
    date = str(np.datetime64(clock.now_ms(), "ms"))[:10]
    points = [point for point in known.values() if isinstance(point, dict) and "accounts_cpu_us" in point]
    accounts = [point["accounts"] for point in points] + [each["accounts"] for each in known["recovery"]]
    made = Coefficients(
        coefficients=coefficients(known, date),
        assumptions={
            name: Assumption(value=value, unit=unit, reason=reason)
            for name, (value, unit, reason) in ASSUMPTIONS.items()
        },
        measured={
            "accounts of a worker": Range(low=min(accounts), high=max(accounts), unit="accounts"),
            "requests of a hop in a pools worker": Range(
                low=min(point["a_hop"] for point in points),
                high=max(point["a_hop"] for point in points),
                unit="requests",
            ),
            "partitions of a worker": Range(low=8, high=8, unit="partitions"),
            "workers of a job": Range(low=1, high=1, unit="workers"),
            "copies of a record": Range(low=1, high=1, unit="copies"),
        },
        checks=[],
    )
    made = msgspec.structs.replace(made, checks=checks(Costs(made), known))
    out.write_text(json.dumps(msgspec.to_builtins(made), indent=1) + "\n", encoding="utf-8")
    table = Table("held back", "point", "predicted", "measured", "unit", "error")
    for each in made.checks:
        table.add_row(
            each.what, each.point, f"{each.predicted:,.1f}", f"{each.measured:,.1f}", each.unit, f"{each.error:+.1%}"
        )
    Console(width=110, file=sys.stdout).print(table)
