"""``stillwatch config``: the settings as this process sees them, secrets masked. Exit codes: 0; 1 for a bad setting."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from services.bootstrap import load_settings
from services.errors import ConfigurationError
from services.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("config")(config)


def config(*, as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")] = False) -> None:
    """Show the effective settings, secrets masked."""
    try:
        settings = load_settings()
    except ValidationError as error:
        # Only names and rules: the value may be a secret in the wrong place.
        told = "; ".join(f"STILLWATCH_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(told) from None
    values = settings.effective()
    if as_json:
        sys.stdout.write(json.dumps(values, indent=2) + "\n")
        return
    table = Table("setting", "value", "meaning", box=None)
    for name, value in values.items():
        described = Settings.model_fields[name].description or ""
        table.add_row(f"STILLWATCH_{name.upper()}", value, described)
    Console().print(table)
