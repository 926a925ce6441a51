"""`stillwatch closed-loop`: what decisions cost attackers who feel them, and what they do to everybody else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.console import Console

from services import bootstrap
from services.cli.shared_data import SHARED, SharedData
from services.closed_loop.report import ClosedLoop, picture, tell
from services.closed_loop.runs import Comparison, scenario_stage, world_stages
from services.errors import ConfigurationError
from services.gateway.identity import Identity
from services.simulator.corpus import Corpus
from services.simulator.scenarios import SCENARIOS
from services.simulator.world.build import WorldOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.closed_loop.runs import Stage

Chart = Annotated[Path | None, typer.Option("--picture", help="Write the shares of the corpus as SVG.")]
WORLD: Final = "world"
_KEY = b"the loop's identifiers leave this process nowhere"
_START_MS = 1_767_225_600_000  # 2026-01-01, so that a seed gives the same figures on any day.


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("closed-loop")(closed_loop)


def closed_loop(
    *,
    scenario: Annotated[
        str,
        typer.Option("--scenario", help=f"One of: {', '.join(SCENARIOS)}, or `world` for all of evaluation's recipes."),
    ] = "demo",
    days: Annotated[int, typer.Option("--days", min=1, max=30, help="All days, a world's lead days too.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 11,
    approval_hours: Annotated[
        float, typer.Option("--approval-hours", min=0, help="What a lead takes, who approves every proposal.")
    ] = 1.0,
    recipes: Annotated[str, typer.Option("--recipes", help="Of a world, comma-separated; all unless told.")] = "",
    honest: Annotated[int, typer.Option("--honest", min=20, help="Of a world: accounts besides the crowds.")] = 600,
    lead_days: Annotated[int, typer.Option("--lead-days", min=0, help="Of a world: before the campaigns.")] = 1,
    shared_data: SharedData = SHARED,
    cache: Annotated[Path | None, typer.Option("--cache", help="Keep a world's sketched requests here.")] = None,
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
    config = bootstrap.load_detection_config(settings)
    errors = Console(stderr=True)

    def told(line: str) -> None:
        if not as_json:
            errors.print(line)

    stages: Iterable[Stage]
    if scenario == WORLD:
        shared = str(shared_data) if shared_data.is_dir() else ""
        options = WorldOptions(seed=seed, honest=honest, days=days, lead_days=lead_days, shared=shared)
        options.check()
        stages = world_stages(options, [name for name in recipes.split(",") if name], cache, told)
    else:
        stages = [scenario_stage(scenario, Corpus(None), Identity(_KEY), seed=seed, start_ms=_START_MS, days=days)]
    comparison = Comparison(config, references, partitions=1, approval_hours=approval_hours)
    result = ClosedLoop(scenario=scenario, seed=seed, days=days, approval_hours=approval_hours, costs=[], touched=[])
    for stage in stages:
        costs, touched = comparison.run(stage, told)
        result.costs.extend(costs)
        result.touched.extend(touched)
    if chart is not None:
        chart.write_text(picture(result), encoding="utf-8")
    if as_json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    tell(result, Console())
