"""What another terminal can know of a running `stillwatch up`: `supervisor.json` in the base directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from services.adapters.embedded import files
from services.adapters.embedded.processes import Process, identify
from services.adapters.embedded.state import SUPERVISOR
from services.supervisor.part import State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.supervisor.supervisor import Kept


class PartStatus(msgspec.Struct, frozen=True):
    """One part as last told."""

    name: str
    state: State
    pid: int | None
    restarts: int
    detail: str
    ports: dict[str, int]


class Status(msgspec.Struct, frozen=True):
    """The supervisor's process, where people find the product, and the parts in the order of their start."""

    process: Process
    api_url: str
    kafka_bootstrap_servers: str
    parts: tuple[PartStatus, ...]

    @property
    def ready(self) -> bool:
        """Whether every part does what it should."""
        return all(part.state in {State.READY, State.DONE} for part in self.parts)


class StatusFile:
    """Writes the status at every change; `remove` when the supervisor ends."""

    def __init__(self, base_dir: Path, *, api_url: str, kafka_bootstrap_servers: str) -> None:
        self._path = base_dir / SUPERVISOR
        self._process = identify(os.getpid())
        self._api_url = api_url
        self._kafka = kafka_bootstrap_servers

    def write(self, kept: Sequence[Kept]) -> None:
        """Replace the file with where the parts stand now."""
        parts = tuple(
            PartStatus(each.part.name, each.state, each.pid, each.restarts, each.detail, dict(each.part.ports))
            for each in kept
        )
        status = Status(self._process, self._api_url, self._kafka, parts)
        files.write_whole(self._path, msgspec.json.encode(status))

    def remove(self) -> None:
        """Forget the run."""
        self._path.unlink(missing_ok=True)


def read(base_dir: Path) -> Status | None:
    """Return the status of the supervisor that runs on this directory now; None when none does."""
    try:
        status = msgspec.json.decode((base_dir / SUPERVISOR).read_bytes(), type=Status)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return status if status.process.alive() else None
