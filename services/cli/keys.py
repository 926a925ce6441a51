"""``stillwatch keys``: the keys of identifiers and sketches, and their rotation. No command shows a secret."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from services.bootstrap import load_settings
from services.errors import ConfigurationError
from services.gateway.identity import KEY_FILE, load_identity, load_ring
from services.gateway.keys.guard import check_key_file
from services.gateway.keys.ring import KeyRing, parse_ring, write_ring

File = Annotated[
    Path | None,
    typer.Option("--file", help="The key file. [default: STILLWATCH_HMAC_KEY_FILE, else base_dir/hmac.key]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
_AFTER_ROTATION = (
    "Bring the file to every gateway and to `normalise`, and restart them one by one: customers keep their ids. After "
    "72 hours, the longest evidence, end the overlap with `stillwatch keys retire`. Import the account file once more."
)
_AFTER_RETIREMENT = (
    "Bring the file to every gateway and to `normalise`, and restart them one by one. The old key is gone."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(help="The keys of identifiers and sketches: status and rotation.", no_args_is_help=True)
    group.command("status")(status)
    group.command("rotate")(rotate)
    group.command("retire")(retire)
    app.add_typer(group, name="keys")


def status(*, as_json: AsJson = False) -> None:
    """Show which keys are in use, by version and fingerprint."""
    _tell(load_ring(load_settings()), "", as_json=as_json)


def rotate(*, file: File = None, as_json: AsJson = False) -> None:
    """Put a new key in front of the key file; the old one stays while the two overlap."""
    path, ring = _read(file)
    changed = ring.rotated()
    write_ring(path, changed)
    _tell(changed, _AFTER_ROTATION, as_json=as_json)


def retire(*, file: File = None, as_json: AsJson = False) -> None:
    """End the overlap: the old key leaves the key file for good."""
    path, ring = _read(file)
    changed = ring.retired()
    write_ring(path, changed)
    _tell(changed, _AFTER_RETIREMENT, as_json=as_json)


def _read(file: Path | None) -> tuple[Path, KeyRing]:
    settings = load_settings()
    named = os.environ.get("STILLWATCH_HMAC_KEY_FILE")
    if settings.key_source:
        raise ConfigurationError("the keys come from STILLWATCH_KEY_SOURCE", "Rotate them where they are kept.")
    if file is None and not named and settings.hmac_key is not None:
        raise ConfigurationError(
            "the key stands in STILLWATCH_HMAC_KEY, which no command can change",
            "Put it in a file, name that with STILLWATCH_HMAC_KEY_FILE, and rotate again.",
        )
    path = file or (Path(named) if named else settings.base_dir / KEY_FILE)
    if file is None and not named:
        load_identity(settings)  # Makes the first key where there is none yet.
    try:
        check_key_file(path)
        text = path.read_text(encoding="ascii")
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}", "Name the key file with --file."
        ) from error
    return path, parse_ring(text, settings.key_version)


def _tell(ring: KeyRing, advice: str, *, as_json: bool) -> None:
    keys = [("active", ring.active)] + ([("overlap", ring.previous)] if ring.previous is not None else [])
    rows: list[dict[str, Any]] = [
        {"state": state, "version": key.version, "fingerprint": key.fingerprint, "linked": key.linked}
        for state, key in keys
    ]
    if as_json:
        sys.stdout.write(json.dumps({"keys": rows}) + "\n")
        return
    for row in rows:
        linked = ", customers keep older ids" if row["linked"] else ""
        typer.echo(f"key {row['version']} ({row['state']}), fingerprint {row['fingerprint']}{linked}")
    if advice:
        typer.echo(advice)
