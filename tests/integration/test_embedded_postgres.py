from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest

from services.adapters.embedded import EmbeddedPostgres, state

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


def connect(url: str, **changes: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True, **changes)  # type: ignore[arg-type]  # its overloads take no mapping


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_committed_rows_outlive_kill_9_and_the_port_stays(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as postgres:
        url = postgres.url
        connection = connect(url)
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        # A session in the middle of a transaction when the server dies must not keep the next one from starting.
        connection.execute("BEGIN")
        connection.execute("INSERT INTO kept VALUES (0)")
        postgres.kill()
        postgres.start()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("COMMIT")
        connection.close()
        assert postgres.url == url
        assert ask(url, "SELECT count(*), min(n) FROM kept") == [(1000, 1)]


def test_a_lock_file_whose_pid_is_somebody_elses_does_not_stop_the_start(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path).start()
    left = (postgres.data / "postmaster.pid").read_text().splitlines()
    postgres.kill()
    left[0] = str(os.getppid())
    (postgres.data / "postmaster.pid").write_text("\n".join(left))
    postgres.start()
    assert ask(postgres.url, "SELECT 1") == [(1,)]
    postgres.stop()


def test_a_login_needs_the_password(postgres: EmbeddedPostgres) -> None:
    for wrong in ("guess", ""):
        with pytest.raises(psycopg.OperationalError, match="password"):
            connect(postgres.url, password=wrong)


def test_commits_are_durable_and_the_server_is_the_promised_one(postgres: EmbeddedPostgres) -> None:
    for setting, value in (("fsync", "on"), ("synchronous_commit", "on"), ("listen_addresses", "127.0.0.1")):
        assert ask(postgres.url, f"SHOW {setting}") == [(value,)]
    assert str(ask(postgres.url, "SHOW server_version")[0][0]).startswith("18.")
    assert ask(postgres.url, "SELECT current_database(), current_user") == [("stillwatch", "stillwatch")]
    assert ask(postgres.url, "SHOW unix_socket_directories") == [("",)]


def test_values_and_secrets_do_not_reach_the_log(postgres: EmbeddedPostgres) -> None:
    with connect(postgres.url) as connection:
        connection.execute("CREATE TABLE once (word text PRIMARY KEY)")
        for _ in range(2):
            try:
                connection.execute("INSERT INTO once VALUES ('canary-in-a-row')")
            except psycopg.errors.UniqueViolation:
                break
        else:
            pytest.fail("the second row should have been refused")
        connection.execute("DROP TABLE once")
    text = postgres.log.read_text()
    assert "once_pkey" in text
    assert "canary-in-a-row" not in text
    assert state.password(postgres.base_dir) not in text


def test_every_test_has_a_database_of_its_own(database_url: str, postgres: EmbeddedPostgres) -> None:
    assert ask(database_url, "SELECT current_database() LIKE 'test\\_%'") == [(True,)]
    assert database_url != postgres.url
