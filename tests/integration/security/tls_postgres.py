"""A PostgreSQL that asks for TLS, of the machine's own: the embedded one is built without.

Debian's program is run where the machine has it (``apt-get install postgresql``); elsewhere the tests are skipped.
"""

from __future__ import annotations

import secrets
import shutil
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGQUIT
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import psycopg
import pytest
from psycopg import sql

from services.adapters.clock import utc_now
from services.adapters.embedded import files, ports, processes, unprivileged

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from services.adapters.embedded.certificates import Authority

LOGINS = "hostssl all all 127.0.0.1/32 scram-sha-256\n"
CERTIFICATE = "server.pem"


def program(name: str) -> str:
    """Find the newest of the machine's servers that has a program of this name; skips where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    if not found:
        pytest.skip("no PostgreSQL with TLS here: apt-get install postgresql")
    return str(found[-1])


class TlsPostgres:
    """One server; ``owner`` is its superuser, and owns the database ``stillwatch``."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.ca = authority.certificate
        self.passwords = {"owner": secrets.token_urlsafe(18)}
        self.port = ports.choose()
        self._authority = authority
        self._folder = folder
        self._data = folder / "data"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._data.mkdir(mode=0o700)
        unprivileged.hand_over(self._data)
        self._run([program("initdb"), "-D", str(self._data), "-U", "owner", "--auth=reject", "--encoding=UTF8"])
        statements = f"ALTER ROLE owner PASSWORD '{self.passwords['owner']}'\nCREATE DATABASE stillwatch\n"
        self._run([program("postgres"), "--single", "-D", str(self._data), "template1"], statements.encode())
        files.write_whole(self._data / "pg_hba.conf", LOGINS.encode())
        self._certify(self._authority.issue("database"))
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "ssl": "on",
            "ssl_cert_file": CERTIFICATE,
            "ssl_key_file": CERTIFICATE,
            "log_min_error_statement": "panic",
        }
        line = [program("postgres"), "-D", str(self._data), "-p", str(self.port)]
        line += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("wb") as log:
            self._child = processes.spawn(line, output=log, death_signal=SIGQUIT, flags=list(unprivileged.flags()))
        deadline = time.monotonic() + 60
        while True:
            try:
                self.connect("owner").close()
            except psycopg.OperationalError:
                assert self._child.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        if self._child is not None:
            self._child.send_signal(SIGINT)
            self._child.wait(30)

    def url(self, user: str, *, word: str = "", ca: Path | None = None, mode: str = "verify-full") -> str:
        """Give the URL as an operator writes it."""
        word = word or self.passwords[user]
        asked = {"sslmode": mode} if mode == "disable" else {"sslmode": mode, "sslrootcert": str(ca or self.ca)}
        return f"postgresql+psycopg://{user}:{word}@127.0.0.1:{self.port}/stillwatch?{urlencode(asked)}"

    def connect(self, user: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url(user).replace("+psycopg", ""), autocommit=True)

    def add_user(self, name: str, role: str) -> str:
        """Make a user with a login in a role of ours, and give its URL."""
        self.passwords[name] = secrets.token_urlsafe(18)
        with self.connect("owner") as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
                    sql.Identifier(name), sql.Literal(self.passwords[name]), sql.Identifier(role)
                )
            )
        return self.url(name)

    @contextmanager
    def expired(self) -> Iterator[None]:
        """Let the server's certificate have ended."""
        now = utc_now()
        ended = self._authority.issue("ended", begins=now - timedelta(days=9), ends=now - timedelta(days=1))
        self._certify(ended)
        self._reload()
        try:
            yield
        finally:
            self._certify(self._authority.issue("database"))
            self._reload()

    def _certify(self, certificate: Path) -> None:
        shutil.copyfile(certificate, self._data / CERTIFICATE)
        (self._data / CERTIFICATE).chmod(0o600)
        unprivileged.hand_over(self._data)

    def _reload(self) -> None:
        assert self._child is not None
        self._child.send_signal(SIGHUP)
        time.sleep(1.0)

    def _run(self, line: list[str], stdin: bytes = b"") -> None:
        code, said = processes.run(line, flags=list(unprivileged.flags()), stdin=stdin)
        assert code == 0, said
        assert "ERROR:" not in said, said
