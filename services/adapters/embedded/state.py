"""What lies in the base directory (`.stillwatch/`): who runs, where it listens, how to reach it from another terminal.

`endpoints.json` keeps each embedded service's ports between runs, so that a restart comes back where its clients look
for it, and the process that serves them now. It holds no secret: the database's password has a file of its own, mode
0600.
"""

from __future__ import annotations

import os
import secrets
import shutil
from typing import TYPE_CHECKING

import msgspec

from services.adapters.embedded import files
from services.adapters.embedded.ports import LOOPBACK
from services.adapters.embedded.processes import Process  # msgspec reads the annotations at run time
from services.errors import AlreadyRunningError, NotRunningError, StillwatchError

if TYPE_CHECKING:
    from pathlib import Path

KAFKA = "kafka"
POSTGRES = "postgres"
DATABASE = "stillwatch"
ROLE = "stillwatch"
ENDPOINTS = "endpoints.json"
PASSWORD = "postgres.password"  # noqa: S105  # the file's name, not a password
LOCK = "lock"
SUPERVISOR = "supervisor.json"
# All that `reset` may delete. The base directory is the user's to name, so nothing else in it is touched.
OWNED = (
    KAFKA,
    POSTGRES,
    "logs",
    ENDPOINTS,
    PASSWORD,
    SUPERVISOR,
    LOCK,
    ".endpoints.lock",
    ".kafka.lock",
    ".postgres.lock",
)


class Service(msgspec.Struct, frozen=True):
    """One embedded service: its ports by name, and the process that listens (None when stopped in good order)."""

    ports: dict[str, int]
    process: Process | None = None

    @property
    def running(self) -> bool:
        """Whether the recorded process still lives."""
        return self.process is not None and self.process.alive()


class Endpoints(msgspec.Struct, frozen=True):
    """The content of `endpoints.json`."""

    services: dict[str, Service] = {}
    version: int = 1


def prepare_base(base_dir: Path) -> Path:
    """Create the base directory, closed to other users, and return it absolute."""
    base_dir = base_dir.absolute()
    if not base_dir.is_dir():
        base_dir.mkdir(parents=True, mode=0o700)
    return base_dir


def read_endpoints(base_dir: Path) -> Endpoints:
    """Return what is recorded; nothing when there is no file. A file that cannot be read is refused, not guessed."""
    path = base_dir / ENDPOINTS
    try:
        return msgspec.json.decode(path.read_bytes(), type=Endpoints)
    except FileNotFoundError:
        return Endpoints()
    except msgspec.DecodeError as error:
        raise StillwatchError(
            f"{path} is not a record of endpoints: {error}.", hint="Delete it, or run `stillwatch reset`."
        ) from error


def record(base_dir: Path, name: str, service: Service) -> None:
    """Write one service's entry; others that write theirs at the same time wait."""
    with files.locked(base_dir / ".endpoints.lock"):
        entries = {**read_endpoints(base_dir).services, name: service}
        text = msgspec.json.format(msgspec.json.encode(Endpoints(services=entries)), indent=2)
        files.write_whole(base_dir / ENDPOINTS, text + b"\n")


def password(base_dir: Path) -> str:
    """Return the database's password, made at the first call and readable by its owner alone."""
    path = base_dir / PASSWORD
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        # Two processes may come here at once; the first one's password is everybody's.
        files.write_new(path, secrets.token_urlsafe(24).encode() + b"\n")
        return path.read_text(encoding="ascii").strip()


def database_url(base_dir: Path, port: int, database: str = DATABASE) -> str:
    """Return SQLAlchemy's URL (psycopg 3) of a database on the embedded server, password included."""
    return f"postgresql+psycopg://{ROLE}:{password(base_dir)}@{LOOPBACK}:{port}/{database}"


def running_bootstrap_servers(base_dir: Path) -> str:
    """Return the address of the embedded Kafka that runs on this base directory, else raise NotRunningError."""
    return f"{LOOPBACK}:{_running(base_dir, KAFKA).ports['broker']}"


def running_database_url(base_dir: Path) -> str:
    """Return the URL of the embedded Postgres that runs on this base directory, else raise NotRunningError."""
    return database_url(base_dir, _running(base_dir, POSTGRES).ports["database"])


def _running(base_dir: Path, name: str) -> Service:
    service = read_endpoints(base_dir).services.get(name)
    if service is None or not service.running:
        raise NotRunningError(
            f"The embedded {name} does not run in {base_dir}.",
            hint="Start it with `stillwatch up`, or name the base directory of a running one with --base-dir.",
        )
    return service


def take(base_dir: Path) -> int:
    """Claim the base directory for this process.

    Returns a descriptor that holds the claim until closed or until the process ends.
    """
    path = prepare_base(base_dir) / LOCK
    descriptor = files.try_lock(path)
    if descriptor is None:
        raise AlreadyRunningError(
            f"Stillwatch already runs on {base_dir}.",
            hint="See `stillwatch status`; stop it with Ctrl-C in its terminal, or choose another --base-dir.",
        )
    return descriptor


def reset(base_dir: Path) -> list[str]:
    """Delete the embedded services' data, keys and records.

    Returns the names deleted. Refused while anything runs on them.
    """
    if not base_dir.is_dir():
        return []
    claim = take(base_dir)
    try:
        for name, service in _services_or_none(base_dir).items():
            if service.running and service.process is not None:
                raise AlreadyRunningError(
                    f"The embedded {name} (pid {service.process.pid}) still runs on {base_dir}.", hint="Stop it first."
                )
        deleted = []
        for name in OWNED:
            path = base_dir / name
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                continue
            deleted.append(name)
    finally:
        os.close(claim)
    if not any(base_dir.iterdir()):
        base_dir.rmdir()
    return deleted


def _services_or_none(base_dir: Path) -> dict[str, Service]:
    """Return the recorded services; a record that cannot be read must not stop the command that would mend it."""
    try:
        return read_endpoints(base_dir).services
    except StillwatchError:
        return {}
