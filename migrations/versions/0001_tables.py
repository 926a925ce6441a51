"""Alerts and what belongs to them, labels, entitlements, outbox, audit, sink progress."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
TABLES = (
    "labels",
    "campaign_members",
    "alerts",
    "alert_revisions",
    "evidence",
    "entitlements",
    "outbox",
    "audit",
    "sink_progress",
)


def upgrade() -> None:
    op.create_table(
        "alert_revisions",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_time", MOMENT, nullable=False),
        sa.Column("updated_time", MOMENT, nullable=False),
        sa.Column("stored_at", MOMENT, nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "alert_id", "revision", "event_time", name=op.f("pk_alert_revisions")),
        postgresql_partition_by="RANGE (event_time)",
    )
    op.create_table(
        "alerts",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("event_time", MOMENT, nullable=False),
        sa.Column("updated_time", MOMENT, nullable=False),
        sa.Column("stored_at", MOMENT, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("member_count", sa.BigInteger(), nullable=False),
        sa.Column("config_version", sa.Text(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'claimed', 'labelled', 'snoozed', 'closed')", name=op.f("ck_alerts_state")
        ),
        sa.CheckConstraint("subject_kind IN ('account', 'campaign')", name=op.f("ck_alerts_subject_kind")),
        sa.PrimaryKeyConstraint("tenant", "alert_id", name=op.f("pk_alerts")),
    )
    op.create_index(
        "ix_alerts_queue",
        "alerts",
        ["tenant", "event_time", "alert_id"],
        postgresql_where=sa.text("state IN ('open', 'claimed')"),
    )
    op.create_index(op.f("ix_alerts_tenant_event_time_alert_id"), "alerts", ["tenant", "event_time", "alert_id"])
    op.create_index(op.f("ix_alerts_tenant_subject"), "alerts", ["tenant", "subject"])
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", postgresql.JSONB(), nullable=True),
        sa.Column("after", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("id", "at", name=op.f("pk_audit")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index(op.f("ix_audit_tenant_subject_at"), "audit", ["tenant", "subject", "at"])
    op.create_table(
        "entitlements",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("entitlement_id", sa.Text(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("valid_from", MOMENT, nullable=False),
        sa.Column("valid_until", MOMENT, nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('licence', 'allowlist')", name=op.f("ck_entitlements_kind")),
        sa.CheckConstraint("subject_kind IN ('account', 'organization')", name=op.f("ck_entitlements_subject_kind")),
        sa.CheckConstraint("valid_until > valid_from", name=op.f("ck_entitlements_period")),
        sa.PrimaryKeyConstraint("tenant", "entitlement_id", name=op.f("pk_entitlements")),
    )
    op.create_index(
        op.f("ix_entitlements_tenant_created_at_entitlement_id"),
        "entitlements",
        ["tenant", "created_at", "entitlement_id"],
    )
    op.create_index(op.f("ix_entitlements_tenant_subject"), "entitlements", ["tenant", "subject"])
    op.create_table(
        "evidence",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("finding_id", sa.Text(), nullable=False),
        sa.Column("event_time", MOMENT, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("detector", sa.Text(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("hop", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("customers", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("stored_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "alert_id", "finding_id", "event_time", name=op.f("pk_evidence")),
        postgresql_partition_by="RANGE (event_time)",
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("headers", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("relayed_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(
        "ix_outbox_pending", "outbox", ["tenant", "topic", "key", "id"], postgresql_where=sa.text("relayed_at IS NULL")
    )
    op.create_table(
        "sink_progress",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("beat_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "topic", "partition", name=op.f("pk_sink_progress")),
    )
    op.create_table(
        "campaign_members",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("strength", sa.Double(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "alert_id"],
            ["alerts.tenant", "alerts.alert_id"],
            name=op.f("fk_campaign_members_alerts"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "alert_id", "account", name=op.f("pk_campaign_members")),
    )
    op.create_index(op.f("ix_campaign_members_tenant_account"), "campaign_members", ["tenant", "account"])
    op.create_index(op.f("ix_campaign_members_tenant_customer"), "campaign_members", ["tenant", "customer"])
    op.create_table(
        "labels",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("label_id", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("alert_revision", sa.BigInteger(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("labelled_at", MOMENT, nullable=False),
        sa.Column("config_version", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("request_digest", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "verdict IN ('true_positive', 'false_positive', 'benign', 'insufficient_data')",
            name=op.f("ck_labels_verdict"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "alert_id"], ["alerts.tenant", "alerts.alert_id"], name=op.f("fk_labels_alerts")
        ),
        sa.PrimaryKeyConstraint("tenant", "label_id", name=op.f("pk_labels")),
        sa.UniqueConstraint("tenant", "idempotency_key", name=op.f("uq_labels_tenant_idempotency_key")),
    )
    op.create_index(op.f("ix_labels_tenant_alert_id_labelled_at"), "labels", ["tenant", "alert_id", "labelled_at"])
    op.create_index(op.f("ix_labels_tenant_labelled_at_label_id"), "labels", ["tenant", "labelled_at", "label_id"])


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
