"""Decisions: proposals, approvals, and the signed records that gateways have; entitlements with volumes and grace."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

VOLUMES = ("daily_requests", "daily_tokens", "total_requests", "total_tokens")
GRANTS = {
    "stillwatch_writer": ("SELECT, INSERT, UPDATE ON decisions", "SELECT ON labels, entitlements", "INSERT ON outbox"),
    "stillwatch_api": ("SELECT, INSERT, UPDATE ON decisions",),
    "stillwatch_reader": ("SELECT ON decisions",),
}


def upgrade() -> None:
    op.create_table(
        "decisions",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("members", postgresql.JSONB(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason_codes", postgresql.JSONB(), nullable=False),
        sa.Column("evidence_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("lifetime_ms", sa.BigInteger(), nullable=False),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("decided_by", sa.Text()),
        sa.Column("by_person", sa.Boolean(), nullable=False),
        sa.Column("sequence", sa.BigInteger()),
        sa.Column("issued_at", sa.DateTime(timezone=True)),
        sa.Column("standing_since", sa.DateTime(timezone=True)),
        sa.Column("effective_at", sa.DateTime(timezone=True)),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("record", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("tenant", "decision_id", name="pk_decisions"),
        sa.UniqueConstraint("tenant", "sequence", name="uq_decisions_tenant_sequence"),
        sa.CheckConstraint(
            "subject_kind IN ('account', 'campaign', 'organization', 'tenant')", name=op.f("ck_decisions_subject_kind")
        ),
        sa.CheckConstraint(
            "action IN ('allow', 'observe', 'throttle', 'trim', 'challenge', 'block')", name=op.f("ck_decisions_action")
        ),
        sa.CheckConstraint(
            "state IN ('proposed', 'approved', 'issued', 'rejected', 'superseded')", name=op.f("ck_decisions_state")
        ),
        sa.CheckConstraint("state <> 'issued' OR record IS NOT NULL", name=op.f("ck_decisions_issued")),
    )
    op.add_column("entitlements", sa.Column("owner", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("entitlements", sa.Column("models", postgresql.JSONB()))
    for name in VOLUMES:
        op.add_column("entitlements", sa.Column(name, sa.BigInteger()))
    op.add_column("entitlements", sa.Column("grace_ms", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.create_index("ix_decisions_tenant_subject_kind_subject", "decisions", ["tenant", "subject_kind", "subject"])
    op.create_index(
        "ix_decisions_tenant_proposed_at_decision_id", "decisions", ["tenant", "proposed_at", "decision_id"]
    )
    op.create_index(
        "ix_decisions_approved",
        "decisions",
        ["tenant", "decided_at"],
        postgresql_where=sa.text("state = 'approved'"),
    )
    for role, grants in GRANTS.items():
        for grant in grants:
            op.execute(_where_role_exists(role, f"GRANT {grant} TO {role}"))


def downgrade() -> None:
    for name in ("grace_ms", *VOLUMES, "models", "owner"):
        op.drop_column("entitlements", name)
    op.drop_table("decisions")


def _where_role_exists(role: str, statement: str) -> str:
    return (
        f"DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN "  # noqa: S608 - names of ours
        f"{statement}; END IF; END $$"
    )
