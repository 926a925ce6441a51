"""An index that counts a view's alerts by organisation without reading the alerts."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

NAME = "ix_alerts_organisation_facets"
FACETS = ["state", "severity", "kind", "lane", "subject_kind", "detector", "family", "assignee"]


def upgrade() -> None:
    with op.get_context().autocommit_block():
        columns = ["tenant", "organisation"]
        op.create_index(NAME, "alerts", columns, postgresql_include=FACETS, postgresql_concurrently=True)


def downgrade() -> None:
    op.drop_index(NAME, "alerts")
