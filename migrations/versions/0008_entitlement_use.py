"""What entitlements were used for, by day, and which notices have been told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

GRANTS = {
    "stillwatch_writer": (
        "SELECT, INSERT, UPDATE ON entitlement_usage",
        "SELECT, INSERT ON entitlement_notices",
    ),
    "stillwatch_api": ("SELECT ON entitlement_usage, entitlement_notices",),
    "stillwatch_reader": ("SELECT ON entitlement_usage, entitlement_notices",),
}


def upgrade() -> None:
    op.create_table(
        "entitlement_usage",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("entitlement_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "entitlement_id", "day", name="pk_entitlement_usage"),
    )
    op.create_table(
        "entitlement_notices",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("entitlement_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "entitlement_id", "name", name="pk_entitlement_notices"),
    )
    for role, grants in GRANTS.items():
        for grant in grants:
            op.execute(_where_role_exists(role, f"GRANT {grant} TO {role}"))


def downgrade() -> None:
    op.drop_table("entitlement_notices")
    op.drop_table("entitlement_usage")


def _where_role_exists(role: str, statement: str) -> str:
    return (
        f"DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN "  # noqa: S608 - names of ours
        f"{statement}; END IF; END $$"
    )
