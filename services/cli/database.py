"""What the commands on the database share: a session, options, and how answers are written."""

from __future__ import annotations

import getpass
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from services import bootstrap
from services.adapters.postgres import migrate
from services.adapters.postgres.engine import create_engine, describe
from services.errors import NotRunningError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from rich.table import Table
    from sqlalchemy import Engine

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]
Actor = Annotated[
    str, typer.Option("--actor", envvar="STILLWATCH_ACTOR", default_factory=getpass.getuser, help="Who acts.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=500, help="Rows at most.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Where the last page said that it goes on.")]


@contextmanager
def open_engine() -> Iterator[Engine]:
    """Open the database that the settings name; one that does not answer is a NotRunningError."""
    engine = create_engine(bootstrap.database_url(bootstrap.load_settings()), process="cli", pool_size=1)
    try:
        yield engine
    except OperationalError as error:
        raise NotRunningError(f"the database does not answer ({describe(error)})") from error
    finally:
        engine.dispose()


@contextmanager
def open_session() -> Iterator[tuple[Session, str]]:
    """Open a session on the migrated database, and commit at the end; gives the tenant too."""
    with open_engine() as engine:
        migrate.require_head(engine)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session, bootstrap.load_settings().tenant


def require_words(value: str, option: str, *, longest: int) -> None:
    """Refuse a blank or too long value as wrong usage."""
    if not value.strip() or len(value) > longest or "\0" in value:
        raise typer.BadParameter(f"give 1 to {longest} characters", param_hint=option)


def write_json(answer: BaseModel) -> None:
    """Write an answer as the API would."""
    typer.echo(answer.model_dump_json(indent=2))


def write_table(table: Table, next_cursor: str | None) -> None:
    """Write a table and how to see more; no rows are said in words."""
    console = Console(highlight=False)
    if not table.row_count:
        console.print("None yet.")
        return
    console.print(table)
    if next_cursor is not None:
        console.print(f"More: --cursor {next_cursor}", soft_wrap=True)
