"""The schema goes up, matches the models, goes down to nothing, and up again; two starters take turns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from services.adapters.postgres import migrate, outbox
from services.adapters.postgres.alert_store import beat, last_beat
from services.adapters.postgres.alerts import list_alerts, read_alert
from services.adapters.postgres.engine import create_engine
from services.adapters.postgres.entitlements import Grant, add_entitlement, revoke_entitlement
from services.adapters.postgres.labelling import Wish, label_alert
from services.adapters.postgres.partitions import drop_expired, ensure_ahead
from services.adapters.postgres.schema import METADATA
from tests.integration.database.samples import NOW, make_alert, store

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
    for revision in ("0006", "0005", "0004", "0003", "0002", "0001"):
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
    assert [name for name, table in METADATA.tables.items() if "tenant" not in table.c] == []


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


def test_each_process_can_work_under_its_role(database_url: str) -> None:
    @contextmanager
    def under(role: str) -> Iterator[Engine]:
        made = create_engine(database_url, process="test")
        event.listen(made, "begin", lambda connection: connection.exec_driver_sql(f"SET LOCAL ROLE {role}"))
        yield made
        made.dispose()

    alert = make_alert(1)
    subject = {"subject_kind": "organization", "subject": "00000000000000aa", "kind": "licence"}
    period = {"valid_from": NOW, "valid_until": NOW + timedelta(days=9)}
    grant = Grant(**subject, **period, reference="contract 7", actor="lea")  # type: ignore[arg-type]  # two tables
    wish = Wish(alert_id=alert.alert_id, verdict="benign", reason="a partner", actor="ana")
    with under("stillwatch_writer") as writer:
        with writer.begin() as connection:
            ensure_ahead(connection, NOW + timedelta(days=900))
        store(writer, "acme", [alert])
        with writer.begin() as connection:
            beat(connection, "acme", "alerts", [0], NOW)
    with under("stillwatch_api") as api, Session(api) as session, session.begin():
        label_alert(session, "acme", wish, NOW)
        row = add_entitlement(session, "acme", grant, NOW)
        revoke_entitlement(session, "acme", row.entitlement_id, actor="lea", now=NOW + timedelta(hours=1))
        assert read_alert(session, "acme", alert.alert_id).alert.state == "labelled"
        assert last_beat(session.connection(), "acme") == NOW
    with under("stillwatch_writer") as writer:
        store(writer, "acme", [make_alert(1, 2)])
        with writer.begin() as connection:
            rows = outbox.take(connection, "acme", 10)
            outbox.mark_relayed(connection, [row.id for row in rows], NOW)
            assert outbox.count_pending(connection, "acme") == 1  # The revocation follows the grant.
            assert outbox.purge(connection, "acme", NOW + timedelta(days=1)) == 2
            drop_expired(connection, NOW + timedelta(days=900), 400)
    with under("stillwatch_reader") as reader, Session(reader) as session:
        assert [row.alert_id for row in list_alerts(session, "acme").rows] == [alert.alert_id]
        with pytest.raises(ProgrammingError, match="permission denied"):
            label_alert(session, "acme", wish, NOW)
