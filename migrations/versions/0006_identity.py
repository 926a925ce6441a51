"""Users, sessions, keys for machines, failed sign-ins, sign-ins under way at a provider."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
WORDS = postgresql.ARRAY(sa.Text())
TABLES = ("pending_sign_ins", "sign_in_failures", "api_keys", "sessions", "users")
# The reader's role sees none of these.
GRANTS = (
    "SELECT, INSERT, UPDATE ON users, api_keys TO stillwatch_api",
    "SELECT, INSERT, UPDATE, DELETE ON sessions, sign_in_failures, pending_sign_ins TO stillwatch_api",
)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("roles", WORDS, nullable=False),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("provider_subject", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("disabled_at", MOMENT, nullable=True),
        sa.CheckConstraint("password IS NOT NULL OR issuer IS NOT NULL", name=op.f("ck_users_way_in")),
        sa.PrimaryKeyConstraint("tenant", "user_id", name=op.f("pk_users")),
        sa.UniqueConstraint("tenant", "name", name=op.f("uq_users_tenant_name")),
        sa.UniqueConstraint(
            "tenant", "issuer", "provider_subject", name=op.f("uq_users_tenant_issuer_provider_subject")
        ),
    )
    op.create_table(
        "sessions",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "user_id"], ["users.tenant", "users.user_id"], name=op.f("fk_sessions_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant", "digest", name=op.f("pk_sessions")),
        sa.UniqueConstraint("digest", name=op.f("uq_sessions_digest")),
    )
    op.create_index(op.f("ix_sessions_tenant_user_id"), "sessions", ["tenant", "user_id"])
    op.create_table(
        "api_keys",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", WORDS, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "key_id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_index(op.f("ix_api_keys_tenant_created_at_key_id"), "api_keys", ["tenant", "created_at", "key_id"])
    op.create_table(
        "sign_in_failures",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("window_start", MOMENT, nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "subject", name=op.f("pk_sign_in_failures")),
    )
    op.create_table(
        "pending_sign_ins",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("verifier", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "state", name=op.f("pk_pending_sign_ins")),
    )
    for grant in GRANTS:
        role = grant.rpartition(" ")[2]
        op.execute(
            f"DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN "  # noqa: S608 - names of ours
            f"GRANT {grant}; END IF; END $$"
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
