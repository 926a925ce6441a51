"""Partitions by month, an audit that only grows, and a wake-up for the relay.

The functions run as their owner (SECURITY DEFINER) and know a closed list of tables, so that the processes' roles may
have partitions made and dropped without a right to create or drop anything else.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ENSURE_PARTITION = """
CREATE FUNCTION stillwatch_ensure_partition(parent text, month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    name text := parent || '_p' || to_char(first, 'YYYYMM');
BEGIN
    IF parent NOT IN ('evidence', 'alert_revisions', 'audit') THEN
        RAISE EXCEPTION 'no partitioned table %', parent;
    END IF;
    IF to_regclass('public.' || name) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- Two processes that need the same month take turns; the second finds it made.
    PERFORM pg_advisory_xact_lock(hashtextextended('stillwatch-partition/' || name, 0));
    IF to_regclass('public.' || name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', name, parent,
                   first::text || ' 00:00:00+00', (first + interval '1 month')::date::text || ' 00:00:00+00');
    IF parent = 'audit' THEN
        EXECUTE format('CREATE TRIGGER audit_keeps_all BEFORE TRUNCATE ON %I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION stillwatch_refuse_change()', name);
    END IF;
    RETURN true;
END $$
"""
DROP_PARTITIONS = """
CREATE FUNCTION stillwatch_drop_partitions(parent text, before timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text;
    ends timestamptz;
    youngest timestamptz;
BEGIN
    IF parent NOT IN ('evidence', 'alert_revisions') THEN
        RAISE EXCEPTION 'the rows of % do not expire', parent;
    END IF;
    FOR name IN
        SELECT child.relname FROM pg_inherits
          JOIN pg_class AS child ON child.oid = inhrelid
         WHERE inhparent = ('public.' || parent)::regclass ORDER BY child.relname
    LOOP
        ends := (to_date(right(name, 6), 'YYYYMM') + interval '1 month') AT TIME ZONE 'UTC';
        CONTINUE WHEN ends > before;
        EXECUTE format('SELECT max(stored_at) FROM %I', name) INTO youngest;
        CONTINUE WHEN youngest >= before;
        EXECUTE format('DROP TABLE %I', name);
        RETURN NEXT name;
    END LOOP;
END $$
"""
REFUSE_CHANGE = """
CREATE FUNCTION stillwatch_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are only added, never changed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$
"""
WAKE_RELAY = """
CREATE FUNCTION stillwatch_wake_relay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('stillwatch_outbox', '');
    RETURN NULL;
END $$
"""
REFUSE = "EXECUTE FUNCTION stillwatch_refuse_change()"
TRIGGERS = (
    f"CREATE TRIGGER audit_keeps_rows BEFORE UPDATE OR DELETE ON audit FOR EACH ROW {REFUSE}",
    f"CREATE TRIGGER audit_keeps_all BEFORE TRUNCATE ON audit FOR EACH STATEMENT {REFUSE}",
    f"CREATE TRIGGER labels_keep_rows BEFORE UPDATE OR DELETE ON labels FOR EACH ROW {REFUSE}",
    "CREATE TRIGGER outbox_wakes_relay AFTER INSERT ON outbox EXECUTE FUNCTION stillwatch_wake_relay()",
)


def upgrade() -> None:
    for statement in (REFUSE_CHANGE, WAKE_RELAY, ENSURE_PARTITION, DROP_PARTITIONS, *TRIGGERS):
        op.execute(statement)
    for function in ("stillwatch_ensure_partition(text, date)", "stillwatch_drop_partitions(text, timestamptz)"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP TRIGGER outbox_wakes_relay ON outbox")
    op.execute("DROP TRIGGER labels_keep_rows ON labels")
    op.execute("DROP FUNCTION stillwatch_refuse_change() CASCADE")
    op.execute("DROP FUNCTION stillwatch_wake_relay()")
    op.execute("DROP FUNCTION stillwatch_drop_partitions(text, timestamptz)")
    op.execute("DROP FUNCTION stillwatch_ensure_partition(text, date)")
