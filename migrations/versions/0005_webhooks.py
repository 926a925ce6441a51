"""Webhooks, and the outbox of their deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

GRANTS = {
    "stillwatch_writer": ("SELECT ON webhooks", "SELECT, INSERT, UPDATE, DELETE ON webhook_deliveries"),
    "stillwatch_api": ("SELECT, INSERT, UPDATE, DELETE ON webhooks", "SELECT, DELETE ON webhook_deliveries"),
    "stillwatch_reader": ("SELECT ON webhooks",),
}


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "webhooks",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("minimum_severity", sa.Text(), nullable=False),
        sa.Column("routing_key", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("previous_until", moment),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "webhook_id", name="pk_webhooks"),
        sa.CheckConstraint("template IN ('alert', 'ocsf', 'slack', 'pagerduty')", name=op.f("ck_webhooks_template")),
        sa.CheckConstraint(
            "minimum_severity IN ('low', 'medium', 'high', 'critical')", name=op.f("ck_webhooks_minimum_severity")
        ),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("due_at", moment, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("last_outcome", sa.Text()),
        sa.PrimaryKeyConstraint("tenant", "delivery_id", name="pk_webhook_deliveries"),
        sa.UniqueConstraint(
            "tenant", "webhook_id", "event_id", name="uq_webhook_deliveries_tenant_webhook_id_event_id"
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "webhook_id"],
            ["webhooks.tenant", "webhooks.webhook_id"],
            name="fk_webhook_deliveries_webhooks",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_state")),
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["tenant", "due_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    for role, grants in GRANTS.items():
        for grant in grants:
            op.execute(_where_role_exists(role, f"GRANT {grant} TO {role}"))


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")


def _where_role_exists(role: str, statement: str) -> str:
    return (
        f"DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN "  # noqa: S608 - names of ours
        f"{statement}; END IF; END $$"
    )
