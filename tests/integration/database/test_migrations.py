"""The schema goes up, matches the models, goes down to nothing, and up again; two starters take turns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import inspect, text

from services.adapters.postgres import migrate
from services.adapters.postgres.engine import create_engine
from services.adapters.postgres.tables import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

pytestmark = pytest.mark.integration


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Engine]:
    made = create_engine(empty_database_url, process="test")
    yield made
    made.dispose()


def test_up_check_down_and_up_again(empty: Engine) -> None:
    assert migrate.upgrade(empty) == migrate.head_revision()
    migrate.check(empty)
    migrate.downgrade(empty, "base")
    assert inspect(empty).get_table_names() == ["alembic_version"]
    with empty.connect() as connection:
        left = connection.execute(text("SELECT proname FROM pg_proc WHERE starts_with(proname, 'stillwatch_')"))
        assert left.all() == []
    assert migrate.upgrade(empty) == migrate.head_revision()
    migrate.check(empty)
    migrate.require_head(empty)


def test_every_step_down_is_followed_by_a_step_up(empty: Engine) -> None:
    migrate.upgrade(empty)
    for revision in ("0002", "0001"):
        migrate.downgrade(empty, revision)
        assert migrate.upgrade(empty, "head") == migrate.head_revision()


def test_two_starters_take_turns(empty_database_url: str) -> None:
    engines = [create_engine(empty_database_url, process="test") for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(migrate.upgrade, engines)) == [migrate.head_revision()] * 3
    for engine in engines:
        engine.dispose()


def test_a_database_behind_is_named(empty: Engine) -> None:
    with pytest.raises(migrate.SchemaError, match="revision none"):
        migrate.require_head(empty)


def test_every_row_names_its_tenant() -> None:
    assert [name for name, table in Base.metadata.tables.items() if "tenant" not in table.c] == []


def test_a_session_of_the_migration_goes_back_without_its_lock(empty: Engine) -> None:
    migrate.upgrade(empty)
    with empty.connect() as connection:
        held = connection.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).scalar_one()
        timeout = connection.execute(text("SHOW statement_timeout")).scalar_one()
    assert (held, timeout) == (0, "30s")


def test_roles_may_do_what_they_need_and_no_more(engine: Engine) -> None:
    with engine.connect() as connection:

        def may(role: str, table: str, privilege: str) -> bool:
            asked = text("SELECT has_table_privilege(:role, :table, :privilege)")
            values = {"role": role, "table": table, "privilege": privilege}
            return bool(connection.execute(asked, values).scalar_one())

        assert may("stillwatch_writer", "alerts", "UPDATE")
        assert not may("stillwatch_writer", "labels", "INSERT")
        assert not may("stillwatch_writer", "audit", "SELECT")
        assert may("stillwatch_api", "labels", "INSERT")
        assert not may("stillwatch_api", "alerts", "UPDATE")  # Two of its columns only.
        assert not may("stillwatch_reader", "alerts", "INSERT")
        for role in ("stillwatch_writer", "stillwatch_api", "stillwatch_reader"):
            assert not may(role, "audit", "UPDATE")
            assert not may(role, "audit", "DELETE")
            assert not may(role, "audit", "TRUNCATE")
