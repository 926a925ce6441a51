"""Fixtures that every test may ask for: a real Kafka and a real Postgres, started once a run, and only if asked for.

Unit tests have no network sockets; ask for them with the marker `integration`, `acceptance` or `enable_socket`.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psycopg
import pytest
import pytest_socket
from psycopg import sql

from services.adapters.embedded import EmbeddedKafka, EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator

# A machine that is busy is no failure of an example; in CI Hypothesis loads such a profile by itself.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
if "CI" not in os.environ:
    hypothesis.settings.load_profile("busy")

ROOT = Path(__file__).parent.parent
WITH_SOCKETS = ("integration", "acceptance", "enable_socket")
TEMPLATE = "template_stillwatch"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Take network sockets away from a test that did not ask for them; event loops need Unix ones."""
    if not any(item.get_closest_marker(name) for name in WITH_SOCKETS):
        pytest_socket.disable_socket(allow_unix_socket=True)


@pytest.fixture(scope="session")
def embedded_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base directory of this run's Kafka and Postgres."""
    return tmp_path_factory.mktemp("embedded")


@pytest.fixture(scope="session")
def kafka(embedded_dir: Path) -> Iterator[EmbeddedKafka]:
    """A broker for the whole run: name topics and groups so that tests cannot meet."""
    with EmbeddedKafka(embedded_dir) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(embedded_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A database server for the whole run; tests take `database_url` and leave the server alone."""
    with EmbeddedPostgres(embedded_dir) as server:
        yield server


@pytest.fixture(scope="session")
def template_database(postgres: EmbeddedPostgres) -> str:
    """The name of a database with every migration applied; it is cloned, never used."""
    _administer(postgres, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    if (ROOT / "migrations" / "env.py").is_file():
        subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=ROOT,
            env={**os.environ, "STILLWATCH_DATABASE_URL": postgres.url_of(TEMPLATE)},
            check=True,
        )
    return TEMPLATE


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile what has changed before the first test's time begins to run."""
    starts_jobs = any(item.get_closest_marker(name) for item in session.items for name in ("integration", "acceptance"))
    if starts_jobs or "detection.accounts.step" in sys.modules:
        from detection.accounts.warm import warm_up

        warm_up()


@pytest.fixture(scope="session")
def database_numbers() -> Iterator[int]:
    """Numbers that name this run's databases."""
    return itertools.count(1)


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, template_database: str, database_numbers: Iterator[int]) -> Iterator[str]:
    """SQLAlchemy's URL of a database of this test's own, as the migrations leave it."""
    name = f"test_{next(database_numbers)}"
    database, template = sql.Identifier(name), sql.Identifier(template_database)
    _administer(postgres, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(database, template))
    yield postgres.url_of(name)
    _administer(postgres, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def _administer(postgres: EmbeddedPostgres, statement: sql.Composed) -> None:
    with psycopg.connect(postgres.url_of("postgres").replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement)
