"""How large the database is and who works in it, from PostgreSQL's own catalogue; no table's rows are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

REST: Final = "rest"
STATES: Final = ("active", "idle", "other")


@dataclass(frozen=True, slots=True)
class DatabaseFigures:
    """``sizes`` in bytes by table, its partitions, indexes and overflow with it; ``sessions`` by what they do."""

    sizes: Mapping[str, int]
    sessions: Mapping[str, int]
    oldest_transaction_seconds: float


_SIZES: Final = text("""
    SELECT root.relname AS part, sum(pg_total_relation_size(leaf.relid))::bigint AS bytes
      FROM pg_class AS root
      JOIN pg_namespace AS space ON space.oid = root.relnamespace AND space.nspname = current_schema()
     CROSS JOIN LATERAL (
           SELECT root.oid AS relid WHERE root.relkind = 'r'
           UNION ALL SELECT relid FROM pg_partition_tree(root.oid) WHERE root.relkind = 'p') AS leaf
     WHERE root.relkind IN ('r', 'p') AND NOT root.relispartition
     GROUP BY root.relname
""")
_WHOLE: Final = text("SELECT pg_database_size(current_database())")
# Another role's sessions are seen, what they do is not: those count as other.
_SESSIONS: Final = text("""
    SELECT CASE WHEN state IN ('active', 'idle') THEN state ELSE 'other' END AS state, count(*) AS sessions,
           coalesce(max(extract(epoch FROM now() - xact_start)) FILTER (WHERE pid <> pg_backend_pid()), 0) AS oldest
      FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' GROUP BY 1
""")


def measure(connection: Connection) -> DatabaseFigures:
    """Ask the catalogue; takes no lock that a writer waits for."""
    sizes = {row.part: int(row.bytes) for row in connection.execute(_SIZES)}
    sizes[REST] = max(0, int(connection.execute(_WHOLE).scalar_one()) - sum(sizes.values()))
    sessions = dict.fromkeys(STATES, 0)
    oldest = 0.0
    for row in connection.execute(_SESSIONS):
        sessions[row.state] = int(row.sessions)
        oldest = max(oldest, float(row.oldest))
    return DatabaseFigures(sizes, sessions, oldest)
