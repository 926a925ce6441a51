"""`stillwatch evaluate`: the detector in simulated worlds, or alerts that are at hand, against the truth."""

from __future__ import annotations

import json
import sys
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.alert import decode_alert
from services import bootstrap
from services.cli.shared_data import SHARED, SharedData
from services.errors import ConfigurationError
from services.evaluation.heads import read_bars, read_head
from services.evaluation.pictures import crowds_picture, recipes_picture
from services.evaluation.plan import Plan
from services.evaluation.poisoning import Poisoning, PoisoningRow
from services.evaluation.prequential import NO_RECIPES, TUNING_SEEDS, Evaluator, Result, fresh_seeds
from services.evaluation.report import tell_evaluation, tell_result
from services.evaluation.truth import evaluate as compare
from services.evaluation.truth import read_truth
from services.simulator.world.crowds import CROWDS

_WORLDS = "worlds"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("evaluate")(evaluate)


def evaluate(
    *,
    seeds: Annotated[
        str, typer.Option("--seeds", help="Comma-separated; below 1000 are for tuning. [default: fresh ones]")
    ] = "",
    count: Annotated[int, typer.Option("--count", min=1, help="Number of fresh seeds where none are named.")] = 5,
    tuning: Annotated[
        bool, typer.Option("--tuning", help="Tuning recipes and tuning seeds only; the result is marked.")
    ] = False,
    recipes: Annotated[str, typer.Option("--recipes", help="Comma-separated; `none` for a benign world.")] = "",
    crowds: Annotated[str, typer.Option("--crowds", help="Comma-separated hard negatives; `none` for none.")] = "",
    honest: Annotated[int, typer.Option("--honest", min=20, help="Honest accounts besides the crowds.")] = 1200,
    days: Annotated[int, typer.Option("--days", min=1, help="All days, lead days too.")] = 10,
    lead_days: Annotated[int, typer.Option("--lead-days", min=0, help="Days before the campaigns begin.")] = 7,
    prevalence: Annotated[
        float, typer.Option("--prevalence", min=0.0005, max=0.5, help="Attackers' share of accounts, at most.")
    ] = 0.05,
    lower: Annotated[
        str, typer.Option("--lower-prevalences", help="Further shares, one run each and seed, e.g. 0.01,0.001.")
    ] = "",
    references: Annotated[
        Literal["shipped", "lead"],
        typer.Option("--references", help="The set in use, or one learnt from each world's own lead days."),
    ] = "shipped",
    configuration: Annotated[bool, typer.Option("--blind/--no-blind", help="Also without configuration keys.")] = True,
    ablation: Annotated[bool, typer.Option("--ablation", help="Also without each lane.")] = False,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also what per-account methods would find.")] = False,
    poisoning: Annotated[
        str, typer.Option("--poisoning", help="Attackers' shares of the lead days' requests, e.g. 0,0.2,0.5,0.8.")
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Write the result here, as JSON.")] = None,
    pictures: Annotated[Path | None, typer.Option("--pictures", help="Draw the result into this folder.")] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Keep sketched worlds here. [default: under the base directory]")
    ] = None,
    shared: SharedData = SHARED,
    head: Annotated[
        Path | None, typer.Option("--head", help="Order alerts by this head too, as `models export` writes it.")
    ] = None,
    bars: Annotated[
        Path | None,
        typer.Option("--bars", help="Hold back what lies below these bars, as `models export` writes them."),
    ] = None,
    partitions: Annotated[int, typer.Option("--partitions", min=1, help="Few are faster; alerts differ little.")] = 2,
    alerts: Annotated[
        Path | None, typer.Option("--alerts", help="Judge these alerts instead (JSON lines; all revisions say more).")
    ] = None,
    truth: Annotated[Path | None, typer.Option("--truth", help="With --alerts: who is who.")] = None,
    id_map: Annotated[Path | None, typer.Option("--id-map", help="With --alerts: raw accounts to ids.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the result as JSON.")] = False,
) -> None:
    """Hold the detector, or alerts that are at hand, against the truth.

    Without --alerts: simulates worlds, sketches them as a gateway does, and runs the detector on them. Sketched worlds
    are kept, so the next run is fast. With --alerts, --truth, --id-map and --days: judges those.
    """
    if alerts is not None:
        _judge_alerts(alerts, truth, id_map, days, as_json=as_json)
        return
    settings = bootstrap.load_settings()
    if references == "shipped" and bootstrap.load_references(settings) is None:
        raise ConfigurationError("there are no references, so nothing can be scored", "Use --references lead.")
    chosen = _seeds(seeds, count, tuning=tuning)
    plan = Plan(
        seeds=chosen,
        recipes=_names(recipes),
        family=NO_RECIPES if recipes == NO_RECIPES else "tuning" if tuning else "all",
        honest=honest,
        days=days,
        lead_days=lead_days,
        crowds=() if crowds == "none" else _names(crowds) or tuple(name for name, _, _ in CROWDS),
        prevalence=prevalence,
        lower_prevalences=tuple(float(part) for part in _names(lower)),
        references=references,
        partitions=partitions,
        without_configuration=configuration,
        ablation=ablation,
        baselines=baselines,
        shared=str(shared) if shared.is_dir() else "",
        cache=cache or settings.base_dir / _WORLDS,
        head=read_head(head),
        bars=read_bars(bars),
    )
    result = _run(plan, quiet=as_json)
    if poisoning:
        shares = tuple(float(part) for part in _names(poisoning))
        result = msgspec.structs.replace(result, poisoning=_poison(plan, shares))
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        (pictures / "evaluation-recipes.svg").write_text(recipes_picture(result), encoding="utf-8")
        (pictures / "evaluation-crowds.svg").write_text(crowds_picture(result), encoding="utf-8")
    if as_json:
        typer.echo(msgspec.json.encode(result).decode())
    else:
        tell_result(result, Console())


def _run(plan: Plan, *, quiet: bool) -> Result:
    settings = bootstrap.load_settings()
    config = bootstrap.load_detection_config(settings)
    references = bootstrap.load_references(settings)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    shown = not quiet and sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as progress:
        task = progress.add_task("starting")

        def tell(line: str) -> None:
            progress.update(task, description=line)

        return Evaluator(plan, config, references, tell).run()


def _poison(plan: Plan, shares: tuple[float, ...]) -> list[PoisoningRow]:
    settings = bootstrap.load_settings()
    used = bootstrap.load_references(settings)
    if used is None:
        raise ConfigurationError("poisoning is judged beside references in use", "Set STILLWATCH_REFERENCES.")
    if not plan.lead_days or any(not 0 <= share < 1 for share in shares):
        raise ConfigurationError("poisoning wants lead days, and shares from 0 to below 1", "See `evaluate --help`.")
    return Poisoning(plan, bootstrap.load_detection_config(settings), used, lambda _: None).run(shares)


def _seeds(named: str, count: int, *, tuning: bool) -> tuple[int, ...]:
    try:
        chosen = tuple(int(part) for part in _names(named))
    except ValueError as error:
        raise ConfigurationError("--seeds wants numbers", "For example --seeds 5001,5002.") from error
    if tuning:
        chosen = chosen or tuple(TUNING_SEEDS[:2])
        if not set(chosen) <= set(TUNING_SEEDS):
            raise ConfigurationError("a fresh seed is used up when something is tuned on it", "Use seeds below 1000.")
    return chosen or fresh_seeds(count)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip() and part.strip() != "none")


def _judge_alerts(alerts: Path, truth: Path | None, id_map: Path | None, days: float, *, as_json: bool) -> None:
    if truth is None or id_map is None:
        raise ConfigurationError("--alerts was given alone", "Give --truth, --id-map and --days with it.")
    try:
        raised = [decode_alert(line) for line in alerts.read_bytes().splitlines() if line]
        ids: dict[str, str] = json.loads(id_map.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the alerts or the id map cannot be read: {error}") from error
    judged = compare(raised, read_truth(truth), ids, None, round(days * 86_400_000))
    if as_json:
        typer.echo(json.dumps({"alerts": judged.alerts, "evaluation": msgspec.to_builtins(judged)}))
        return
    tell_evaluation(judged, Console())
    typer.echo(f"{len(raised)} revisions read")
