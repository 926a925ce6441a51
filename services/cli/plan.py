"""``stillwatch plan``: how large an installation must be for a traffic, and what is reached next as it grows.

Asks nothing of a running installation. Exit codes: 0 planned; 9 planned, but something of it cannot be had.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from schemas.topics import REQUESTS
from services.bootstrap import load_detection_config, load_settings
from services.capacity import coefficients
from services.capacity.demand import Demand, assumed
from services.capacity.path import steps
from services.capacity.plan import make_plan
from services.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.capacity.coefficients import Coefficients
    from services.capacity.path import Step
    from services.capacity.plan import Plan

IMPOSSIBLE: Final = 9
_DAY_MS: Final = 86_400_000
PATH_COLUMNS: Final = (
    "requests/s",
    "accounts",
    "partitions",
    "accounts workers",
    "pools workers",
    "brokers",
    "disk, TB",
    "network, MB/s",
    "recovery, s",
    "breaks first on the way",
)
_COUNTED: Final = ("partitions", "processes", "brokers")
_WIDTH: Final = 150  # Where there is no terminal: a sentence for each line must fit.


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("plan")(plan)


def _option(name: str, text: str) -> Any:
    """Give an option whose default is the assumption of its name, which the answer shows."""
    return typer.Option(name, help=text, show_default="as assumed")


def plan(
    *,
    requests_per_second: Annotated[float, typer.Option("--requests-per-second", help="On average in a busy hour.")],
    accounts: Annotated[float, typer.Option("--accounts", help="That are known: seen within 90 days.")],
    retention_days: Annotated[
        float, typer.Option("--retention-days", help="Of the topic of requests, for replays.")
    ] = REQUESTS.retention_ms / _DAY_MS,
    headroom: Annotated[float | None, _option("--headroom", "Share of each core that is left free.")] = None,
    growth: Annotated[float | None, _option("--growth", "Times the workers that partitions leave room for.")] = None,
    replication: Annotated[float | None, _option("--replication", "Copies of each record.")] = None,
    worker_gigabytes: Annotated[float | None, _option("--worker-gigabytes", "Memory limit of a worker.")] = None,
    recovery_seconds: Annotated[
        float | None, _option("--recovery-seconds", "Longest time in which a new accounts worker is ready.")
    ] = None,
    active_share: Annotated[
        float | None, _option("--active-share", "Share of the accounts that may send in a hop.")
    ] = None,
    raw_share: Annotated[
        float | None, _option("--raw-share", "Share of the requests that come as vendors' records, to be normalised.")
    ] = None,
    characters: Annotated[float | None, _option("--characters", "Of a prompt in such a record.")] = None,
    largest_account: Annotated[float | None, _option("--largest-account", "Busiest account's share.")] = None,
    largest_pool: Annotated[float | None, _option("--largest-pool", "Busiest pool's share.")] = None,
    broker_terabytes: Annotated[float | None, _option("--broker-terabytes", "Disk of a broker.")] = None,
    path: Annotated[
        bool, typer.Option("--path", help="Show each factor of ten on the way there, and what is reached.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of tables.")] = False,
) -> None:
    """How large an installation must be, from measured costs, and what breaks first.

    Partitions, workers, memory, disk, network and recovery, each with its reason; where the plan goes beyond what was
    measured; at which rates something is reached as traffic and accounts grow together.
    """
    known = coefficients.load()
    given = {
        "headroom": headroom,
        "growth": growth,
        "replication": replication,
        "worker_gigabytes": worker_gigabytes,
        "recovery_seconds": recovery_seconds,
        "active_share": active_share,
        "raw_share": raw_share,
        "characters": characters,
        "largest_account": largest_account,
        "largest_pool": largest_pool,
        "broker_terabytes": broker_terabytes,
    }
    demand = demand_of(known, load_settings(), requests_per_second, accounts, retention_days, given)
    made = make_plan(demand, known)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    way = list(steps(demand, known)) if path else []
    if as_json:
        told = {"plan": made, "checks": known.checks, **({"path": way} if path else {})}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(told), indent=2).decode() + "\n")
    else:
        if path:
            show_path(way, console)
        else:
            show(made, console)
        show_reached(made, console)
        show_notes(made, known, console)
    if any(note.impossible for note in made.notes):
        raise typer.Exit(IMPOSSIBLE)


def demand_of(
    known: Coefficients,
    settings: Settings,
    requests_per_second: float,
    accounts: float,
    retention_days: float,
    given: dict[str, float | None],
) -> Demand:
    """Make the demand of what was given, of the settings and the detection's configuration; raises DemandError."""
    config = load_detection_config(settings)
    limits = Settings.model_fields["partitions"].metadata
    return Demand(
        requests_per_second=requests_per_second,
        accounts=accounts,
        retention_days=retention_days,
        database_days=settings.retention_days,
        hop_seconds=config.clocking.hop_ms / 1000,
        lateness_seconds=config.clocking.lateness_ms / 1000,
        checkpoint_seconds=settings.checkpoint_seconds,
        partition_accounts=config.accounts.maximum_accounts,
        partition_pairs=config.pools.maximum_stubs,
        alerts_per_hour=config.incidents.alerts_per_hour,
        most_partitions=next(limit.le for limit in limits if hasattr(limit, "le")),
        **assumed(known, given),
    )


def show(made: Plan, console: Console) -> None:
    """Write a line for each thing."""
    table = Table("part", "what", "amount", "", "because", box=SIMPLE_HEAD)
    table.columns[2].justify = "right"
    before = ""
    for line in made.lines:
        value = whole(line.value) if line.unit.split()[0] in _COUNTED else amount(line.value)
        table.add_row("" if line.part == before else line.part, line.what, value, line.unit, line.because)
        before = line.part
    console.print(table)


def show_reached(made: Plan, console: Console) -> None:
    """Write what is reached, at which rate; what lies behind the traffic that was asked for is dim."""
    reached = Table("at requests/s", "is reached", "then", box=SIMPLE_HEAD, title="as traffic and accounts grow alike")
    reached.columns[0].justify = "right"
    for ceiling in made.ceilings:
        passed = ceiling.requests_per_second <= made.demand.requests_per_second
        style = "dim" if passed else ""
        reached.add_row(amount(ceiling.requests_per_second), ceiling.what, ceiling.then, style=style)
    console.print(reached)


def show_path(way: Sequence[Step], console: Console) -> None:
    """Write a row for each factor of ten."""
    table = Table(*PATH_COLUMNS, box=SIMPLE_HEAD, show_lines=True)
    for step in way:
        table.add_row(*path_row(step))
    console.print(table)


def path_row(step: Step) -> list[str]:
    """Give the cells of one factor of ten, as the documentation shows them too."""
    plan = step.plan
    first = step.reached[0] if step.reached else None
    return [
        amount(plan.demand.requests_per_second),
        amount(plan.demand.accounts),
        whole(plan.value("kafka", "partitions of wide topics")),
        *(
            f"{whole(plan.value(job, 'workers'))} of {amount(plan.value(job, 'memory of a worker'))} GB"
            for job in ("accounts", "pools")
        ),
        whole(plan.value("kafka", "brokers")),
        amount(plan.value("kafka", "disk")),
        amount(plan.value("kafka", "network")),
        " / ".join(amount(plan.value(job, "recovery of a worker")) for job in ("accounts", "pools")),
        f"{first.what}, at {amount(first.requests_per_second)}/s" if first else "nothing",
    ]


def show_notes(made: Plan, known: Coefficients, console: Console) -> None:
    """Say what the plan does not know, what it assumes, and how well it did where it was checked."""
    for note in made.notes:
        word = "[red]cannot be had[/]" if note.impossible else "[yellow]not measured[/]"
        console.print(f"{word}: {note.what}: {note.why}.")
    used = {name for line in made.lines for name in line.basis}
    given = ", ".join(
        f"{name.replace('_', ' ')} {getattr(made.demand, name):g}" for name in known.assumptions if name in used
    )
    worst = max(known.checks, key=lambda check: abs(check.error), default=None)
    console.print(f"Assumed: {given}.")
    if worst is not None:
        origin = next(iter(known.coefficients.values()))
        console.print(
            f"Measured on {origin.date}, {origin.machine}. Held against {len(known.checks)} figures of sizes that it "
            f"was not fitted on, the model was off by {abs(worst.error):.0%} at most ({worst.what}, {worst.point})."
        )


def whole(value: float) -> str:
    """Write what is counted, every digit."""
    return f"{value:,.0f}"


def amount(value: float) -> str:
    """Write three digits that count."""
    if value >= 100:  # noqa: PLR2004 - digits
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"
