"""``stillwatch audit``: who did what, and whether the record of it is whole."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.adapters.postgres import audit
from services.api.admin_models import AuditAnswer
from services.api.models import PageOf
from services.cli.database import AsJson, Cursor, Limit, open_session, write_json, write_table

BROKEN = 1


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    kept = typer.Typer(help="The record of every act: list it, and verify its chain.", no_args_is_help=True)
    kept.command("list")(list_acts)
    kept.command("verify")(verify)
    app.add_typer(kept, name="audit")


def list_acts(
    *,
    subject: Annotated[str | None, typer.Option("--subject", help="As in alert/0123456789abcdef.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Acts of this actor.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List acts, newest first."""
    with open_session() as (session, tenant):
        page = audit.list_acts(session, tenant, subject=subject, actor=by, limit=limit, cursor=cursor)
        rows = [AuditAnswer.from_row(row) for row in page.rows]
    if as_json:
        write_json(PageOf[AuditAnswer](items=rows, next_cursor=page.next_cursor))
        return
    table = Table("No.", "When", "Who", "What", "To what", box=SIMPLE_HEAD)
    for row in rows:
        table.add_row(str(row.seq), f"{row.at:%Y-%m-%d %H:%M:%S}", escape(row.actor), row.action, escape(row.subject))
    write_table(table, page.next_cursor)


def verify(*, as_json: AsJson = False) -> None:
    """Walk the chain: exits with 0 where it is whole, with 1 where a row was changed, taken out or slipped in.

    The head that is printed can be kept elsewhere: a later chain that does not pass through it was rewritten.
    """
    with open_session() as (session, tenant):
        found = audit.verify(session, tenant)
    if as_json:
        told = {"whole": found.whole, "rows": found.rows, "head": found.head}
        typer.echo(json.dumps(told | {"broken_at": found.broken_at, "reason": found.reason}))
    elif found.whole:
        Console(highlight=False, soft_wrap=True).print(f"{found.rows} rows, whole. Head: {found.head}")
    else:
        Console(highlight=False, soft_wrap=True).print(f"Broken at row {found.broken_at}: {found.reason}.")
    raise typer.Exit(0 if found.whole else BROKEN)
