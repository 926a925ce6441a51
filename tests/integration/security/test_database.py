"""A database that asks: TLS with a certificate that is checked, logins, and for each process its role and no more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from services.adapters.clock import utc_now
from services.adapters.embedded.certificates import Authority
from services.adapters.postgres.engine import create_engine, describe
from tests.integration.security.conftest import assert_clear, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.security.conftest import TestedKafka
    from tests.integration.security.tls_postgres import TlsPostgres

LET_IN = ""
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def reached(url: str) -> str:
    """Connect as the product does; give "" where it is let in, else what its log would say."""
    engine = create_engine(url, process="test")
    try:
        with engine.connect() as connection:
            row = connection.exec_driver_sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").one()
    except OperationalError as error:
        return describe(error)
    else:
        return "" if row[0] else "without TLS"
    finally:
        engine.dispose()


def test_a_certificate_of_the_authority_is_accepted(database: TlsPostgres) -> None:
    assert reached(database.url("owner")) == LET_IN


def test_another_authority_and_a_certificate_that_has_ended_are_refused(database: TlsPostgres, tmp_path: Path) -> None:
    other = Authority(tmp_path, utc_now(), "other")
    assert reached(database.url("owner", ca=other.certificate)) == (
        "OperationalError: the server's certificate is not to be trusted"
    )
    with database.expired():
        assert reached(database.url("owner")) == "OperationalError: the server's certificate is not to be trusted"
    assert reached(database.url("owner")) == LET_IN


def test_wrong_logins_and_connections_without_tls_are_refused(database: TlsPostgres) -> None:
    assert reached(database.url("owner", word="wrong")) == "OperationalError: the server refuses the login"
    assert reached(database.url("nobody", word="wrong")) == "OperationalError: the server refuses the login"
    assert reached(database.url("owner", mode="disable")) == "OperationalError: the server takes no such connection"


def test_a_process_that_is_refused_says_why_and_no_secret(
    database: TlsPostgres, secured: TestedKafka, tmp_path: Path
) -> None:
    wrong = database.url("stillwatch_writer_user", word="not-its-password")
    with running("relay", tmp_path, secured.environment("relay") | {"STILLWATCH_DATABASE_URL": wrong}) as relay:
        deadline = time.monotonic() + 60
        while "the server refuses the login" not in relay.said():
            assert time.monotonic() < deadline, relay.said()
            time.sleep(0.25)
        assert not relay.ready("database")
        assert relay.end() == 0
        assert_clear(relay.said(), ["not-its-password", *database.passwords.values()])


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("sink", "stillwatch_writer"),
        ("relay", "stillwatch_writer"),
        ("decisions", "stillwatch_writer"),
        ("subscribers", "stillwatch_writer"),
        ("api", "stillwatch_api"),
    ],
)
def test_a_process_works_under_a_user_of_its_role_by_tls(
    name: str, role: str, database: TlsPostgres, secured: TestedKafka, tmp_path: Path
) -> None:
    url = {"STILLWATCH_DATABASE_URL": database.url(f"{role}_user")}
    with running(name, tmp_path, secured.environment(name) | url) as process:
        process.await_ready("database")
        process.await_ready("kafka")
        time.sleep(2.0)  # It beats, tidies and looks for work within a second.
        assert process.end() == 0, process.said()
        said = process.said()
    assert "InsufficientPrivilege" not in said
    assert_clear(said, [*database.passwords.values(), *secured.passwords.values()])


REFUSED = {
    "stillwatch_writer": (
        "INSERT INTO labels DEFAULT VALUES",
        "SELECT * FROM users",
        "SELECT * FROM sessions",
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit",
        "DELETE FROM alerts",
        "UPDATE webhooks SET url = 'x'",
        "CREATE TABLE mine (a int)",
        "CREATE ROLE other",
    ),
    "stillwatch_api": (
        "DELETE FROM alerts",
        "INSERT INTO alerts DEFAULT VALUES",
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "SELECT * FROM outbox",
        "DELETE FROM users",
        "CREATE TABLE mine (a int)",
    ),
    "stillwatch_reader": (
        "SELECT * FROM users",
        "SELECT * FROM sessions",
        "SELECT * FROM api_keys",
        "UPDATE alerts SET state = 'closed'",
        "INSERT INTO labels DEFAULT VALUES",
        "DELETE FROM audit",
        "CREATE TABLE mine (a int)",
    ),
}


@pytest.mark.parametrize(("role", "statement"), [(role, each) for role in REFUSED for each in REFUSED[role]])
def test_a_user_in_a_role_is_refused_what_is_not_the_roles(database: TlsPostgres, role: str, statement: str) -> None:
    with psycopg.connect(database.url(f"{role}_user").replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM alerts").fetchone() is not None
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
