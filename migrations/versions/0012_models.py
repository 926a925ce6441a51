"""Published heads: the newest in shadow, and the one that a person has promoted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

GRANTS = {
    "stillwatch_writer": "SELECT, INSERT, UPDATE ON models",
    "stillwatch_api": "SELECT, INSERT, UPDATE ON models",
    "stillwatch_reader": "SELECT ON models",
}


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("trained_on", sa.BigInteger(), nullable=False),
        sa.Column("positives", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("promoted_by", sa.Text(), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_by", sa.Text(), nullable=True),
        sa.CheckConstraint("stage IN ('shadow', 'live')", name="ck_models_stage"),
        sa.PrimaryKeyConstraint("tenant", "model", "stage", name="pk_models"),
    )
    for role, grant in GRANTS.items():
        op.execute(_where_role_exists(role, f"GRANT {grant} TO {role}"))


def downgrade() -> None:
    op.drop_table("models")


def _where_role_exists(role: str, statement: str) -> str:
    return (
        f"DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN "  # noqa: S608 - names of ours
        f"{statement}; END IF; END $$"
    )
