"""What was live before a promotion, so that it can be put back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("models", sa.Column("previous", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("models", "previous")
