"""``stillwatch doctor``: is the installation as it must be, and what to do where it is not. Changes nothing.

Exit codes: 0 all well, warnings too; 7 something failed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from services import bootstrap
from services.adapters.clock import SystemClock
from services.adapters.postgres.engine import create_engine
from services.doctor import around
from services.doctor.finding import Finding, ask
from services.doctor.kafka import Cluster
from services.errors import StillwatchError

if TYPE_CHECKING:
    from services.settings import Settings

FAILED: Final = 7
_COLOURS: Final = {"ok": "green", "warning": "yellow", "failed": "red"}


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("doctor")(doctor)


def doctor(
    *,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds that each question waits.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")] = False,
) -> None:
    """Is everything as it must be, and what to do where it is not.

    Asks brokers, topics, producers, rights, database, clocks, disk and versions. Changes nothing.
    """
    found = findings(bootstrap.load_settings(), timeout)
    if as_json:
        sys.stdout.write(json.dumps([asdict(each) for each in found], indent=2) + "\n")
    else:
        table = Table("check", "state", "found", "what to do", box=None)
        for each in found:
            table.add_row(each.check, f"[{_COLOURS[each.state]}]{each.state}[/]", each.detail, each.advice)
        Console().print(table)
    if any(each.state == "failed" for each in found):
        raise typer.Exit(FAILED)


def findings(settings: Settings, timeout: float) -> list[Finding]:
    """Ask everything; a store that has no address is one failed finding, and its questions are left out."""
    clock = SystemClock()
    found = [around.versions(bootstrap.product_version()), around.disk(settings.base_dir)]
    try:
        cluster = Cluster(bootstrap.consumer_base(settings), settings, clock, timeout)
    except StillwatchError as error:
        found.append(Finding("broker", "failed", str(error), error.hint))
    else:
        found.append(ask("broker", cluster.brokers))
        if found[-1].state == "ok":
            found += [
                ask("topics", cluster.topics),
                ask("partitioner", cluster.partitioner),
                ask("rights", cluster.rights),
                ask("broker clock", cluster.clock),
            ]
    try:
        url = bootstrap.database_url(settings)
    except StillwatchError as error:
        return [*found, Finding("database", "failed", str(error), error.hint)]
    engine = create_engine(url, process="doctor", pool_size=1)
    try:
        found.append(ask("database", lambda: around.schema(engine)))
        found.append(ask("database clock", lambda: around.clock(engine, clock)))
    finally:
        engine.dispose()
    return found
