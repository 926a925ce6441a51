"""Alembic's entry: one connection, short lock waits, one transaction for each migration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from alembic import context

from services import bootstrap
from services.adapters.postgres import schema
from services.adapters.postgres.engine import create_engine
from services.adapters.postgres.migrate import LOCK_TIMEOUT, STATEMENT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from sqlalchemy import Connection

PARTITION = re.compile(r"_p\d{6}$")


def include_name(
    name: str | None,
    kind: str,
    _parents: MutableMapping[Literal["schema_name", "table_name", "schema_qualified_table_name"], str | None],
) -> bool:
    # Partitions are made and dropped while the product runs; the models know their parents only.
    return not (kind == "table" and name is not None and PARTITION.search(name))


def run(connection: Connection) -> None:
    # A migration that waits for a lock makes everyone behind it wait too: better to fail and be tried again.
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=schema.METADATA,
        include_name=include_name,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=schema.METADATA, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif given is not None:
    run(given)
else:
    engine = create_engine(bootstrap.database_url(bootstrap.load_settings()), process="alembic")
    with engine.connect() as own:
        run(own)
    engine.dispose()
