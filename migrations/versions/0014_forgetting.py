"""Identifiers in rows that are otherwise never changed may give way to a pseudonym, and nothing else may.

The transaction names both in settings of its own. The triggers stand against mistakes; against malice stands the chain,
which vouches for a changed row of the audit only where a later row tells of the change.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

KEEP_ROWS = """
CREATE FUNCTION stillwatch_keep_rows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    forgotten text := current_setting('stillwatch.forgotten', true);
    pseudonym text := current_setting('stillwatch.pseudonym', true);
BEGIN
    IF TG_OP = 'UPDATE' AND forgotten ~ '^[0-9a-f]{16}$' AND pseudonym ~ '^[0-9a-f]{16}$' THEN
        -- Each identifier in place of the other, and every other word as it was.
        IF to_jsonb(NEW) = replace(to_jsonb(OLD)::text, forgotten, pseudonym)::jsonb THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'rows of % are only added, never changed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$
"""
KEPT = (("audit_keeps_rows", "audit"), ("labels_keep_rows", "labels"))


def upgrade() -> None:
    op.execute(KEEP_ROWS)
    _guard_by("stillwatch_keep_rows")


def downgrade() -> None:
    _guard_by("stillwatch_refuse_change")
    op.execute("DROP FUNCTION stillwatch_keep_rows()")


def _guard_by(function: str) -> None:
    for trigger, table in KEPT:
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
        op.execute(
            f"CREATE TRIGGER {trigger} BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"
        )
