"""``stillwatch dossier``: one file about one alert, for people outside, and the check that it is as it was made."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import Annotated, Final

import typer
from rich.console import Console

from services import bootstrap
from services.adapters.clock import utc_now
from services.cli.database import Actor, AsJson, open_session
from services.dossiers import making, sealing
from services.errors import StillwatchError

_ENDINGS: Final[dict[making.Form, str]] = {
    "json": "json",
    "html": "html",
    "pdf": "pdf",
    "stix": "stix.json",
    "ocsf": "ocsf.json",
}


class UnreadableFileError(StillwatchError):
    """The file cannot be read."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    made = typer.Typer(help="Make the sealed case file of an alert, and verify one.", no_args_is_help=True)
    made.command("make")(make)
    made.command("verify")(verify)
    made.command("key")(show_key)
    app.add_typer(made, name="dossier")


def _seed() -> bytes:
    return making.seed_of(bootstrap.console_secret(bootstrap.load_settings(), "console"))


def make(
    alert_id: Annotated[str, typer.Argument(metavar="ALERT")],
    *,
    folder: Annotated[Path, typer.Option("--output", "-o", file_okay=False, help="Where the files go.")],
    actor: Actor,
    as_json: AsJson = False,
) -> None:
    """Write the dossier of an alert: the sealed JSON, HTML, PDF, STIX 2.1 and OCSF. The audit has its digest."""
    version = bootstrap.product_version()
    with open_session() as (session, tenant):
        dossier = making.make(session, tenant, alert_id, actor=actor, now=utc_now(), version=version, seed=_seed())
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"dossier-{alert_id}.{ending}" for ending in _ENDINGS.values()]
    for form, file in zip(_ENDINGS, files, strict=True):
        file.write_bytes(dossier.write(form, version))
    if as_json:
        typer.echo(json.dumps({"sha256": dossier.sha256, "files": [str(file) for file in files]}))
    else:
        Console(highlight=False, soft_wrap=True).print(f"{dossier.sha256}\n" + "\n".join(map(str, files)))


def verify(
    file: Annotated[Path, typer.Argument(help="A sealed JSON file.")],
    *,
    key: Annotated[str | None, typer.Option("--key", help="The public key that it must be sealed by.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a dossier from its own file: exits with 1 where a byte was changed. Needs no database."""
    try:
        sealed = file.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{file} cannot be read") from error
    found = sealing.verify(sealed, key)
    if as_json:
        typer.echo(json.dumps({"alert_id": found.alert_id, "made_at": found.made_at, "public_key": found.public_key}))
        return
    told = f"Whole: alert {found.alert_id}, made {found.made_at}, {found.audit_rows} rows of the audit."
    whose = "" if key else f"\nSealed by {found.public_key}: ask its owner whether this is theirs."
    Console(highlight=False, soft_wrap=True).print(told + whose)


def show_key() -> None:
    """Print the public key of this installation's dossiers."""
    typer.echo(sealing.public_key_of(_seed()))
