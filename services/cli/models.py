"""``stillwatch models``: what was learned from labels: which head orders the queue, which bars hold some of it back."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from detection.ranking.bars import LEAST_BAR, thresholds
from schemas.model_version import BARS, SUPERVISED
from services.adapters.clock import utc_now
from services.adapters.postgres import models, taught
from services.api.promotion_models import ComparisonAnswer, ModelAnswer, ModelsAnswer
from services.bootstrap import load_detection_config, load_settings
from services.cli.database import Actor, AsJson, open_session, require_words, write_json, write_table
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Version = Annotated[
    int | None, typer.Option("--version", min=1, help="The version that you looked at; another one is refused.")
]


Model = Annotated[
    Literal["supervised", "bars"], typer.Option("--model", help="The head that orders alerts, or the bars.")
]


class NoHeadError(StillwatchError):
    """There is no version at this stage."""

    hint = "`stillwatch models list` shows those that there are."


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    heads = typer.Typer(help="List, compare, promote, retire and undo what labels have taught.", no_args_is_help=True)
    heads.command("list")(list_models)
    heads.command("bars")(list_bars)
    heads.command("compare")(compare_models)
    heads.command("promote")(promote_model)
    heads.command("retire")(retire_model)
    heads.command("undo")(undo_model)
    heads.command("export")(export_model)
    app.add_typer(heads, name="models")


def list_models(*, as_json: AsJson = False) -> None:
    """List head and bars: the version that is live and the newest one in shadow."""
    with open_session() as (session, tenant):
        rows = [ModelAnswer.of(row) for row in models.list_models(session, tenant)]
    _write(rows, as_json=as_json)


def list_bars(*, as_json: AsJson = False) -> None:
    """Show each lane's threshold, its bar, and what asked for it: live, and as proposed."""
    limits = thresholds(load_detection_config(load_settings()))
    with open_session() as (session, tenant):
        rows = [ModelAnswer.of(row) for row in models.list_models(session, tenant) if row.model == BARS]
    if as_json:
        write_json(ModelsAnswer(items=rows))
        return
    columns = ("stage", "version", "lane", "threshold", "bar", "raises at", "asked", "an hour", "confirmed", "drift")
    table = Table(*columns, box=SIMPLE_HEAD)
    for row in rows:
        for each in row.bars:
            in_use = each.bar if row.stage != "retired" else LEAST_BAR
            table.add_row(
                row.stage,
                str(row.version),
                each.lane,
                f"{limits[each.lane]:g}",
                f"{in_use:g}",
                f"{limits[each.lane] * in_use:g}",
                f"budget {each.budget:g}, verdicts {each.verdicts:g}, at most {each.most:g}",
                f"{each.hourly:g}, {each.raised:g} above",
                f"{each.confirmed} of {each.judged}",
                "" if each.drift is None else f"{each.drift.before:.0%} to {each.drift.after:.0%}",
            )
    write_table(table, None)


def compare_models(*, as_json: AsJson = False) -> None:
    """Compare scores alone, the live head and the shadow on the alerts that people have judged."""
    with open_session() as (session, tenant):
        found = ComparisonAnswer.model_validate(taught.compare_heads(session, tenant, SUPERVISED))
    if as_json:
        write_json(found)
        return
    table = Table("judged since", "order", "judged", "shown", "confirmed", "precision", "95 %", box=SIMPLE_HEAD)
    for since, orders in (("the beginning", found.overall), ("the live head", found.since_live)):
        for row in orders:
            share = "-" if row.share is None else f"{row.share:.1%}"
            between = f"{row.low:.1%} - {row.high:.1%}"
            table.add_row(since, row.order, str(row.judged), str(row.shown), str(row.confirmed), share, between)
    write_table(table, None)


def promote_model(
    *, actor: Actor, model: Model = "supervised", version: Version = None, as_json: AsJson = False
) -> None:
    """Let the version in shadow have its say; whoever gave one of its verdicts is refused."""
    _act(models.promote, model, actor, version, as_json=as_json)


def retire_model(
    *, actor: Actor, model: Model = "supervised", version: Version = None, as_json: AsJson = False
) -> None:
    """Take the live version's say away: scores and configured thresholds stand alone."""
    _act(models.retire, model, actor, version, as_json=as_json)


def undo_model(*, actor: Actor, model: Model = "supervised", version: Version = None, as_json: AsJson = False) -> None:
    """Put back what was live before the last promotion or retirement."""
    _act(models.undo, model, actor, version, as_json=as_json)


def _act(act: Callable[..., models.ModelRow], model: str, actor: str, version: int | None, *, as_json: bool) -> None:
    require_words(actor, "--actor", longest=256)
    expected = None if version is None else frozenset({version})
    with open_session() as (session, tenant):
        rows = [ModelAnswer.of(act(session, tenant, model, actor=actor, now=utc_now(), expected_versions=expected))]
    _write(rows, as_json=as_json)


def export_model(
    out: Annotated[
        Path,
        typer.Argument(help="Write the record here, for `--head` and `--bars` of `backtest` and `evaluate`."),
    ],
    *,
    model: Model = "supervised",
    stage: Annotated[Literal["shadow", "live"], typer.Option("--stage")] = "live",
) -> None:
    """Write a version to a file."""
    with open_session() as (session, tenant):
        row = models.find_model(session, tenant, model, stage)
        record = None if row is None else row.record
    if record is None:
        raise NoHeadError(f"there is no version of {model} at the stage {stage}")
    out.write_bytes(record)


def _write(rows: Sequence[ModelAnswer], *, as_json: bool) -> None:
    if as_json:
        write_json(ModelsAnswer(items=list(rows)))
        return
    table = Table("model", "stage", "version", "learned from", "confirmed", "say", "promoted by", box=SIMPLE_HEAD)
    for row in rows:
        table.add_row(
            row.model,
            row.stage,
            str(row.version),
            str(row.trained_on),
            f"{row.positives} of {row.positives_needed} needed" if row.positives_needed else str(row.positives),
            _say(row),
            row.promoted_by or "",
        )
    write_table(table, None)


def _say(row: ModelAnswer) -> str:
    if row.model != BARS:
        return f"{row.weight:.0%}"
    return ", ".join(f"{each.lane} {each.bar:g}" for each in row.bars if each.bar > LEAST_BAR) or "none"
