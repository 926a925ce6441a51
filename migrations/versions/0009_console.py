"""What the console adds: an alert's organisation, indexes for its queue, proposals of entitlements, trials.

The two indexes over every state are for views beside the plain queue; facets are counted from the index alone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
BACK_FILL = """
UPDATE alerts SET organisation = found.customer
  FROM (SELECT DISTINCT ON (tenant, alert_id) tenant, alert_id, customer
          FROM (SELECT tenant, alert_id, customer, sum(requests) AS requests
                  FROM campaign_members GROUP BY 1, 2, 3) AS each
         ORDER BY tenant, alert_id, requests DESC, customer) AS found
 WHERE found.tenant = alerts.tenant AND found.alert_id = alerts.alert_id
"""
INDEXES = (
    ("ix_alerts_every_priority", ["tenant", "priority", "alert_id"]),
    (
        "ix_alerts_facets",
        ["tenant", "state", "severity", "kind", "lane", "subject_kind", "detector", "family", "assignee"],
    ),
    ("ix_alerts_organisation", ["tenant", "organisation", "priority", "alert_id"]),
)
GRANTS = (
    "SELECT, INSERT ON entitlement_proposals, trials TO stillwatch_api",
    "UPDATE (decision, decided_by, decided_at, entitlement_id) ON entitlement_proposals TO stillwatch_api",
    "UPDATE (state, progress, told, result, approved_at, approved_by) ON trials TO stillwatch_api",
    "SELECT ON entitlement_proposals, trials TO stillwatch_reader",
)


def upgrade() -> None:
    op.add_column("alerts", sa.Column("organisation", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.execute(BACK_FILL)
    op.create_table(
        "entitlement_proposals",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("proposal_id", sa.Text(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("valid_from", MOMENT, nullable=False),
        sa.Column("valid_until", MOMENT, nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=True),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("proposed_at", MOMENT, nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", MOMENT, nullable=True),
        sa.Column("entitlement_id", sa.Text(), nullable=True),
        sa.CheckConstraint("subject_kind IN ('account', 'organization')", name="subject_kind"),
        sa.CheckConstraint("kind IN ('licence', 'allowlist')", name="kind"),
        sa.CheckConstraint("valid_until > valid_from", name="period"),
        sa.CheckConstraint("decision IS NULL OR decision IN ('approved', 'rejected')", name="decision"),
        sa.CheckConstraint(
            "decided_by IS NULL OR decided_by <> proposed_by OR decision = 'rejected'", name="two_people"
        ),
        sa.PrimaryKeyConstraint("tenant", "proposal_id", name=op.f("pk_entitlement_proposals")),
    )
    op.create_index(None, "entitlement_proposals", ["tenant", "proposed_at", "proposal_id"])
    op.create_table(
        "trials",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("config", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'running'"), nullable=False),
        sa.Column("progress", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("told", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("result", postgresql.JSONB(), nullable=True),
        sa.Column("approved_at", MOMENT, nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('running', 'done', 'failed')", name="state"),
        sa.PrimaryKeyConstraint("tenant", "trial_id", name=op.f("pk_trials")),
    )
    op.create_index(None, "trials", ["tenant", "at", "trial_id"])
    for grant in GRANTS:
        role = grant.rpartition(" ")[2]
        op.execute(
            f"DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN "  # noqa: S608 - names of ours
            f"GRANT {grant}; END IF; END $$"
        )
    with op.get_context().autocommit_block():
        for name, columns in INDEXES:
            op.create_index(name, "alerts", columns, postgresql_concurrently=True)


def downgrade() -> None:
    for name, _ in INDEXES:
        op.drop_index(name, "alerts")
    op.drop_table("trials")
    op.drop_table("entitlement_proposals")
    op.drop_column("alerts", "organisation")
