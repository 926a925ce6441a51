"""`stillwatch closed-loop`: what decisions cost attackers who feel them, and what they do to everybody else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from services import bootstrap
from services.closed_loop.report import picture, tell
from services.closed_loop.runs import Comparison
from services.errors import ConfigurationError
from services.gateway.identity import Identity
from services.simulator.corpus import Corpus
from services.simulator.scenarios import SCENARIOS

Chart = Annotated[Path | None, typer.Option("--picture", help="Write the shares of the corpus as SVG.")]
_KEY = b"the loop's identifiers leave this process nowhere"
_START_MS = 1_767_225_600_000  # 2026-01-01, so that a seed gives the same figures on any day.


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("closed-loop")(closed_loop)


def closed_loop(
    *,
    scenario: Annotated[str, typer.Option("--scenario", help=f"One of: {', '.join(SCENARIOS)}.")] = "demo",
    days: Annotated[int, typer.Option("--days", min=1, max=30)] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 11,
    approval_hours: Annotated[
        float, typer.Option("--approval-hours", min=0, help="What a lead takes, who approves every proposal.")
    ] = 1.0,
    chart: Chart = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the figures as JSON.")] = False,
) -> None:
    """Let attackers react to decisions, and compare three ladders, without Kafka."""
    settings = bootstrap.load_settings()
    references = bootstrap.load_references(settings)
    if references is None:
        raise ConfigurationError(
            "there are no references, so nothing can be scored",
            "Build them from honest traffic with `stillwatch references build`, and set STILLWATCH_REFERENCES.",
        )
    comparison = Comparison(
        bootstrap.load_detection_config(settings),
        references,
        Corpus(None),
        Identity(_KEY),
        scenario=scenario,
        seed=seed,
        start_ms=_START_MS,
        days=days,
        partitions=1,
        approval_hours=approval_hours,
    )
    errors = Console(stderr=True)
    result = comparison.run(lambda name: None if as_json else errors.print(f"{name} ..."))
    if chart is not None:
        chart.write_text(picture(result), encoding="utf-8")
    if as_json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    tell(result, Console())
