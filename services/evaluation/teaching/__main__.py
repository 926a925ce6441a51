"""``python -m services.evaluation.teaching``: measure what labels are worth; ``make bench-labels``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from services import bootstrap
from services.errors import ConfigurationError
from services.evaluation.plan import Plan
from services.evaluation.teaching import page
from services.evaluation.teaching.measuring import LabelsResult, Measurer, silenced
from services.evaluation.teaching.playing import ACCOUNT_THRESHOLD, POOL_THRESHOLD, Player, permissive, platform

_SHARED = Path("../shared/data")


def measure(
    *,
    seeds: Annotated[str, typer.Option("--seeds", help="Worlds that are left out in turn.")] = (
        "5037,5038,5039,5040,5041"
    ),
    also: Annotated[str, typer.Option("--also", help="Worlds that only teach.")] = "5042,5043,5044,5045,5046",
    labels: Annotated[str, typer.Option("--labels", help="Numbers of labels.")] = "0,20,50,200",
    wrong: Annotated[str, typer.Option("--wrong", help="Shares of wrong labels.")] = "0,0.1,0.3",
    budget: Annotated[int, typer.Option("--budget", min=1, help="Alerts an analyst sees a day.")] = 8,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Orders of the worlds that teach.")] = 3,
    honest: Annotated[int, typer.Option("--honest", min=20)] = 600,
    days: Annotated[int, typer.Option("--days", min=1)] = 5,
    lead_days: Annotated[int, typer.Option("--lead-days", min=0)] = 3,
    cache: Annotated[Path | None, typer.Option("--cache", help="Keep sketched worlds here.")] = None,
    shared: Annotated[Path, typer.Option("--shared-data")] = _SHARED,
    out: Annotated[Path | None, typer.Option("--out", help="Write the result here, as JSON.")] = None,
) -> None:
    """Play worlds, let an analyst judge within a budget, and measure the order of the world that was left out."""
    settings = bootstrap.load_settings()
    references = bootstrap.load_references(settings)
    if references is None:
        raise ConfigurationError("there are no references, so nothing can be scored", "Set STILLWATCH_REFERENCES.")
    tested, teaching = _numbers(seeds), _numbers(also)
    plan = Plan(
        seeds=(*tested, *teaching),
        honest=honest,
        days=days,
        lead_days=lead_days,
        partitions=2,
        shared=str(shared) if shared.is_dir() else "",
        cache=cache or settings.base_dir / "worlds",
    )
    config = permissive(bootstrap.load_detection_config(settings))
    player = Player(plan, config, references, _tell, settings.base_dir / "played")
    runs = {seed: list(player.play(seed)) for seed in plan.seeds}
    platforms = {seed: platform(found) for seed, found in runs.items()}
    measurer = Measurer(platforms, lead_days, budget, draws)
    counts, shares = _numbers(labels), [float(part) for part in wrong.split(",")]
    rows = [row for seed in tested for row in measurer.rows(seed, counts, shares)]
    _tell("adversaries")
    adversaries = [row for seed in tested for row in measurer.adversaries(seed, max(counts))]
    hushed = [
        silenced(player, run, measurer.worst_head(seed, max(counts)), "every verdict the opposite, no cap", _tell)
        for seed in tested
        for run in runs[seed]
    ]
    newest = [{each.alert.alert_id: each for each in platforms[seed].revisions}.values() for seed in tested]
    raised = [[each for each in world if each.alert.kind != "exploration"] for world in newest]
    result = LabelsResult(
        seeds=list(tested),
        tuned_on=list(teaching),
        honest=honest,
        days=days,
        lead_days=lead_days,
        budget=budget,
        draws=draws,
        pool_threshold=POOL_THRESHOLD,
        account_threshold=ACCOUNT_THRESHOLD,
        config_version=config.version,
        references=references.version,
        alerts_a_world=sum(map(len, raised)) / len(raised),
        guilty_a_world=sum(each.guilty for world in raised for each in world) / len(raised),
        rows=rows,
        adversaries=adversaries,
        silenced=hushed,
    )
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    _show(result)


def _show(result: LabelsResult) -> None:
    console = Console()
    for head, found in (
        (page.LABEL_HEAD, page.label_rows(result)),
        (page.SEED_HEAD, page.seed_rows(result)),
        (("adversary", "count"), page.adversary_rows(result)),
        (page.SILENCED_HEAD, page.silenced_rows(result)),
    ):
        table = Table(*head)
        for row in found:
            table.add_row(*row)
        console.print(table)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    typer.run(measure)
