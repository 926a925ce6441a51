"""What the tests of the database share, on the run's own PostgreSQL and Kafka."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.orm import Session

from services.adapters.postgres.engine import create_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from services.adapters.embedded import EmbeddedKafka, EmbeddedPostgres


@pytest.fixture
def empty_database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database of this test's own that no migration has seen."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    administer = postgres.url_of("postgres").replace("+psycopg", "")
    with psycopg.connect(administer, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield postgres.url_of(name)
    with psycopg.connect(administer, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_engine(database_url, process="test")
    yield made
    made.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as opened:
        yield opened


@pytest.fixture
def bootstrap_servers(kafka: EmbeddedKafka) -> str:
    return kafka.bootstrap_servers
