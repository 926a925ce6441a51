"""``stillwatch models``: what was learned from labels, and which head orders the queue."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from schemas.model_version import SUPERVISED
from services.adapters.clock import utc_now
from services.adapters.postgres import models, taught
from services.api.promotion_models import ComparisonAnswer, ModelAnswer, ModelsAnswer
from services.cli.database import Actor, AsJson, open_session, require_words, write_json, write_table
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

Version = Annotated[
    int | None, typer.Option("--version", min=1, help="The version that you looked at; another one is refused.")
]


class NoHeadError(StillwatchError):
    """There is no head at this stage."""

    hint = "`stillwatch models list` shows those that there are."


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    heads = typer.Typer(help="List, compare, promote and retire what labels have taught.", no_args_is_help=True)
    heads.command("list")(list_models)
    heads.command("compare")(compare_models)
    heads.command("promote")(promote_model)
    heads.command("retire")(retire_model)
    heads.command("export")(export_model)
    app.add_typer(heads, name="models")


def list_models(*, as_json: AsJson = False) -> None:
    """List the head that is live and the newest one in shadow."""
    with open_session() as (session, tenant):
        rows = [ModelAnswer.of(row) for row in models.list_models(session, tenant)]
    _write(rows, as_json=as_json)


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


def promote_model(*, actor: Actor, version: Version = None, as_json: AsJson = False) -> None:
    """Let the head in shadow order alerts; whoever gave one of its verdicts is refused."""
    require_words(actor, "--actor", longest=256)
    with open_session() as (session, tenant):
        expected = None if version is None else frozenset({version})
        row = models.promote(session, tenant, SUPERVISED, actor=actor, now=utc_now(), expected_versions=expected)
        rows = [ModelAnswer.of(row)]
    _write(rows, as_json=as_json)


def retire_model(*, actor: Actor, version: Version = None, as_json: AsJson = False) -> None:
    """Take the live head's say away: alerts are ordered by their scores alone."""
    require_words(actor, "--actor", longest=256)
    with open_session() as (session, tenant):
        expected = None if version is None else frozenset({version})
        row = models.retire(session, tenant, SUPERVISED, actor=actor, now=utc_now(), expected_versions=expected)
        rows = [ModelAnswer.of(row)]
    _write(rows, as_json=as_json)


def export_model(
    out: Annotated[Path, typer.Argument(help="Write the record here, for `backtest --head` and `evaluate --head`.")],
    *,
    stage: Annotated[Literal["shadow", "live"], typer.Option("--stage")] = "live",
) -> None:
    """Write a head to a file."""
    with open_session() as (session, tenant):
        row = models.find_model(session, tenant, SUPERVISED, stage)
        record = None if row is None else row.record
    if record is None:
        raise NoHeadError(f"there is no {SUPERVISED} head at the stage {stage}")
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
            f"{row.positives} of {row.positives_needed} needed",
            f"{row.weight:.0%}",
            row.promoted_by or "",
        )
    write_table(table, None)
