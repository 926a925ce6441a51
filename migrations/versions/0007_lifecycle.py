"""The life cycle of alerts: acts, notes, snoozes, reviews, bulk runs; and the audit becomes a chain.

From here on every row of the audit names the hash of the row before it. The database refuses a row that does not
continue the chain; whether a row's own hash is true is for `stillwatch audit verify`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
STATES = "state IN ('open', 'claimed', 'labelled', 'snoozed', 'closed'"
VERDICTS = "verdict IN ('true_positive', 'false_positive', 'benign', 'insufficient_data'"
COLUMNS = (
    "assignee",
    "detector",
    "entitled_until",
    "family",
    "label_id",
    "last_act",
    "lease_until",
    "priority",
    "reopened_revision",
    "snoozed_until",
    "tags",
)
BACK_FILL = """
UPDATE alerts SET
    detector = COALESCE(payload #>> '{findings,0,detector}', lane),
    family = COALESCE(payload #>> '{findings,0,family}', ''),
    label_id = (SELECT label.label_id FROM labels AS label
                 WHERE label.tenant = alerts.tenant AND label.alert_id = alerts.alert_id
                 ORDER BY label.labelled_at DESC, label.label_id DESC LIMIT 1),
    priority = confidence * CASE severity WHEN 'critical' THEN 4 WHEN 'high' THEN 3 WHEN 'medium' THEN 2 ELSE 1 END
"""
INDEXES = (
    ("ix_alerts_priority", ["tenant", "priority", "alert_id"], "state IN ('open', 'claimed', 'reopened')"),
    ("ix_alerts_due", ["tenant", "lease_until"], "state = 'claimed'"),
    ("ix_alerts_waking", ["tenant", "snoozed_until"], "state = 'snoozed'"),
)
AUDIT_TURN = """
CREATE FUNCTION stillwatch_audit_turn(whose text) RETURNS TABLE (seq bigint, hash bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit_heads AS head (tenant, seq, hash) VALUES (whose, 0, decode(repeat('00', 32), 'hex'))
        ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT head.seq, head.hash FROM audit_heads AS head WHERE head.tenant = whose FOR UPDATE;
END $$
"""
AUDIT_CHAIN = """
CREATE FUNCTION stillwatch_audit_chain() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE audit_heads AS head SET seq = NEW.seq, hash = NEW.hash
     WHERE head.tenant = NEW.tenant AND head.seq = NEW.seq - 1 AND head.hash = NEW.previous_hash
       AND length(NEW.hash) = 32;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the row does not continue the audit chain' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$
"""
NEW_TABLES = ("answered", "bulks", "reviews", "snoozes", "notes", "acts", "audit_heads")
GRANTS = (
    "UPDATE (state, version, assignee, lease_until, snoozed_until, reopened_revision) ON alerts TO stillwatch_api",
    "UPDATE (tags, label_id, last_act, entitled_until) ON alerts TO stillwatch_api",
    "SELECT, INSERT ON acts, notes, snoozes, reviews, bulks, answered TO stillwatch_api",
    "UPDATE (undone_at, undone_by) ON acts TO stillwatch_api",
    "UPDATE (withdrawn_at) ON notes TO stillwatch_api",
    "UPDATE (until, ended_at, ended_by) ON snoozes TO stillwatch_api",
    "UPDATE (reviewer, verdict, reason, reviewed_at, settled_label_id) ON reviews TO stillwatch_api",
    "UPDATE (done, failures, finished_at, undone_at) ON bulks TO stillwatch_api",
    "UPDATE (answer), DELETE ON answered TO stillwatch_api",
    "SELECT ON audit_heads TO stillwatch_api",
    "EXECUTE ON FUNCTION stillwatch_audit_turn(text) TO stillwatch_api",
    "EXECUTE ON FUNCTION stillwatch_audit_turn(text) TO stillwatch_writer",
    "SELECT ON snoozes, entitlements TO stillwatch_writer",
    "SELECT ON acts, notes, snoozes, reviews, bulks, audit_heads TO stillwatch_reader",
)


def upgrade() -> None:
    _alerts()
    _lifecycle()
    _audit()
    for grant in GRANTS:
        role = grant.rpartition(" ")[2]
        op.execute(
            f"DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN "  # noqa: S608 - names of ours
            f"GRANT {grant}; END IF; END $$"
        )


def _alerts() -> None:
    words = postgresql.ARRAY(sa.Text())
    for column in (
        *(sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False) for name in ("detector", "family")),
        sa.Column("priority", sa.Double(), server_default=sa.text("0"), nullable=False),
        *(_text(name, nullable=True) for name in ("assignee", "label_id", "last_act")),
        *(_moment(name, nullable=True) for name in ("lease_until", "snoozed_until", "entitled_until")),
        sa.Column("reopened_revision", sa.BigInteger(), nullable=True),
        sa.Column("tags", words, server_default=sa.text("'{}'"), nullable=False),
    ):
        op.add_column("alerts", column)
    _replace_check("alerts", "ck_alerts_state", f"{STATES}, 'reopened')")
    _replace_check("labels", "ck_labels_verdict", f"{VERDICTS}, 'withdrawn')")
    op.execute(BACK_FILL)
    # Not concurrently: that waits for every open snapshot, those of starters who wait for this migration among them.
    for name, columns, where in INDEXES:
        op.create_index(name, "alerts", columns, postgresql_where=sa.text(where))


def _replace_check(table: str, name: str, condition: str) -> None:
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    # First for new rows only, which needs no scan under the strong lock.
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def _alert_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant", "alert_id"], ["alerts.tenant", "alerts.alert_id"], name=op.f(f"fk_{table}_alerts")
    )


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, MOMENT, nullable=nullable)


def _json(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(), nullable=nullable)


def _lifecycle() -> None:
    op.create_table(
        "acts",
        *map(_text, ("tenant", "act_id", "alert_id")),
        _text("bulk_id", nullable=True),
        _text("previous", nullable=True),
        *map(_text, ("kind", "actor")),
        _moment("at"),
        *map(_json, ("before", "after", "made")),
        _moment("undone_at", nullable=True),
        _text("undone_by", nullable=True),
        _alert_key("acts"),
        sa.PrimaryKeyConstraint("tenant", "act_id", name=op.f("pk_acts")),
    )
    op.create_index(op.f("ix_acts_tenant_alert_id_at"), "acts", ["tenant", "alert_id", "at"])
    op.create_index(
        op.f("ix_acts_tenant_bulk_id"), "acts", ["tenant", "bulk_id"], postgresql_where=sa.text("bulk_id IS NOT NULL")
    )
    op.create_table(
        "notes",
        *map(_text, ("tenant", "note_id", "alert_id")),
        _moment("at"),
        *map(_text, ("actor", "body")),
        _moment("withdrawn_at", nullable=True),
        _alert_key("notes"),
        sa.PrimaryKeyConstraint("tenant", "note_id", name=op.f("pk_notes")),
    )
    op.create_index(op.f("ix_notes_tenant_alert_id_at"), "notes", ["tenant", "alert_id", "at"])
    op.create_table(
        "snoozes",
        *map(_text, ("tenant", "snooze_id", "alert_id", "subject", "detector")),
        *map(_moment, ("at", "until")),
        *map(_text, ("actor", "reason")),
        _moment("ended_at", nullable=True),
        _text("ended_by", nullable=True),
        _alert_key("snoozes"),
        sa.CheckConstraint("until > at", name=op.f("ck_snoozes_period")),
        sa.PrimaryKeyConstraint("tenant", "snooze_id", name=op.f("pk_snoozes")),
    )
    op.create_index(op.f("ix_snoozes_tenant_subject_detector"), "snoozes", ["tenant", "subject", "detector"])
    op.create_table(
        "reviews",
        *map(_text, ("tenant", "review_id", "alert_id", "label_id", "first_actor", "first_verdict")),
        _moment("created_at"),
        *(_text(name, nullable=True) for name in ("reviewer", "verdict", "reason")),
        _moment("reviewed_at", nullable=True),
        _text("settled_label_id", nullable=True),
        _alert_key("reviews"),
        sa.PrimaryKeyConstraint("tenant", "review_id", name=op.f("pk_reviews")),
    )
    op.create_index(op.f("ix_reviews_tenant_alert_id"), "reviews", ["tenant", "alert_id"])
    op.create_index(op.f("ix_reviews_tenant_created_at_review_id"), "reviews", ["tenant", "created_at", "review_id"])
    op.create_table(
        "bulks",
        *map(_text, ("tenant", "bulk_id", "actor")),
        _moment("at"),
        _text("kind"),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        _json("failures"),
        _moment("finished_at", nullable=True),
        _moment("undone_at", nullable=True),
        sa.PrimaryKeyConstraint("tenant", "bulk_id", name=op.f("pk_bulks")),
    )
    op.create_table(
        "answered",
        *map(_text, ("tenant", "actor", "idempotency_key", "digest")),
        _json("answer", nullable=True),
        _moment("at"),
        sa.PrimaryKeyConstraint("tenant", "actor", "idempotency_key", name=op.f("pk_answered")),
    )
    op.create_index(op.f("ix_answered_tenant_at"), "answered", ["tenant", "at"])


def _audit() -> None:
    op.create_table(
        "audit_heads",
        _text("tenant"),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_audit_heads")),
    )
    op.add_column("audit", sa.Column("seq", sa.BigInteger(), nullable=True))
    op.add_column("audit", sa.Column("previous_hash", sa.LargeBinary(), nullable=True))
    op.add_column("audit", sa.Column("hash", sa.LargeBinary(), nullable=True))
    op.create_index(op.f("ix_audit_tenant_seq"), "audit", ["tenant", "seq"])
    for statement in (AUDIT_TURN, AUDIT_CHAIN):
        op.execute(statement)
    op.execute("REVOKE EXECUTE ON FUNCTION stillwatch_audit_turn(text) FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER audit_is_a_chain BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION stillwatch_audit_chain()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER audit_is_a_chain ON audit")
    op.execute("DROP FUNCTION stillwatch_audit_chain()")
    op.execute("DROP FUNCTION stillwatch_audit_turn(text)")
    op.drop_index("ix_audit_tenant_seq", "audit")
    for column in ("hash", "previous_hash", "seq"):
        op.drop_column("audit", column)
    for table in NEW_TABLES:
        op.drop_table(table)
    op.execute("UPDATE alerts SET state = 'open' WHERE state = 'reopened'")
    # The rows of labels are never changed; a verdict that was taken back stands as it was, unknown to older versions.
    _replace_check("alerts", "ck_alerts_state", f"{STATES})")
    op.execute("ALTER TABLE labels DROP CONSTRAINT ck_labels_verdict")
    op.execute(f"ALTER TABLE labels ADD CONSTRAINT ck_labels_verdict CHECK ({VERDICTS})) NOT VALID")
    for column in COLUMNS:
        op.drop_column("alerts", column)
