"""`stillwatch migrate`: the database to the newest schema."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from services import bootstrap
from services.adapters.postgres.engine import create_engine
from services.adapters.postgres.migrate import upgrade


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("migrate")(migrate)


def migrate(*, as_json: Annotated[bool, typer.Option("--json", help="Write the revision as JSON.")] = False) -> None:
    """Bring the database to the newest schema.

    Does nothing when it is there already.
    """
    engine = create_engine(bootstrap.database_url(bootstrap.load_settings()), process="migrate")
    try:
        revision = upgrade(engine)
    finally:
        engine.dispose()
    typer.echo(json.dumps({"revision": revision}) if as_json else f"the database is at revision {revision}")
