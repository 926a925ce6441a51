"""The processes' roles may read which revision the schema has: each process asks before it begins."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

ROLES = ("stillwatch_writer", "stillwatch_api", "stillwatch_reader")


def _where_role_exists(role: str, statement: str) -> str:
    return (
        f"DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN "  # noqa: S608 - names of ours
        f"{statement}; END IF; END $$"
    )


def upgrade() -> None:
    for role in ROLES:
        op.execute(_where_role_exists(role, f"GRANT SELECT ON alembic_version TO {role}"))


def downgrade() -> None:
    for role in ROLES:
        op.execute(_where_role_exists(role, f"REVOKE SELECT ON alembic_version FROM {role}"))  # noqa: S608 - as above
