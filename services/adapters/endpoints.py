"""Where the embedded services listen: a file that ``stillwatch up`` writes and every other command reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from services.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "endpoints.json"


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of one running installation; None for a part that is not embedded or not up."""

    kafka_bootstrap_servers: str | None = None
    database_url: str | None = None
    api_url: str | None = None
    supervisor_pid: int | None = None


def read_endpoints(base_dir: Path) -> Endpoints:
    """Read the file; empty endpoints where there is none. Raises ConfigurationError where it cannot be read."""
    path = base_dir / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Endpoints)
    except FileNotFoundError:
        return Endpoints()
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}", "Remove it and start again.") from error


def write_endpoints(base_dir: Path, endpoints: Endpoints) -> None:
    """Replace the file whole; it holds the database's password, so only its owner may read it."""
    base_dir.mkdir(parents=True, exist_ok=True)
    path = base_dir / FILE_NAME
    draft = path.with_suffix(".tmp")
    draft.touch(mode=0o600, exist_ok=True)
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(endpoints)))
    draft.replace(path)
