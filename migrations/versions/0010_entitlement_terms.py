"""A proposal of an entitlement keeps all of its terms: owner, models, volumes, grace."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLE = "entitlement_proposals"
GRACE_MS = 14 * 86_400_000
NUMBERS = ("daily_requests", "daily_tokens", "total_requests", "total_tokens")


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("owner", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column(TABLE, sa.Column("models", postgresql.JSONB(), nullable=True))
    for name in NUMBERS:
        op.add_column(TABLE, sa.Column(name, sa.BigInteger(), nullable=True))
    grace = sa.text(str(GRACE_MS))
    op.add_column(TABLE, sa.Column("grace_ms", sa.BigInteger(), server_default=grace, nullable=False))


def downgrade() -> None:
    for name in ("grace_ms", *reversed(NUMBERS), "models", "owner"):
        op.drop_column(TABLE, name)
