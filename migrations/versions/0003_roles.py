"""Roles without a login: an operator grants them to the users of the processes.

Made only where the migrating user may make roles; a managed database makes them first, under these names, or goes
without. Roles belong to the whole cluster, so going down takes back the rights here and drops a role only when no other
database needs it.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CREATE_ROLES = """
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['stillwatch_migrator', 'stillwatch_writer', 'stillwatch_api', 'stillwatch_reader'] LOOP
        CONTINUE WHEN EXISTS (SELECT 1 FROM pg_roles WHERE rolname = name);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXCEPTION
            WHEN insufficient_privilege THEN RAISE NOTICE 'role % is left to the operator', name;
            WHEN duplicate_object OR unique_violation THEN NULL;  -- Another database's migration was faster.
        END;
    END LOOP;
END $$
"""
GRANTS = {
    "stillwatch_migrator": ("CREATE, USAGE ON SCHEMA public",),
    "stillwatch_writer": (
        "USAGE ON SCHEMA public",
        "SELECT, INSERT, UPDATE ON alerts, evidence, sink_progress",
        "SELECT, INSERT ON alert_revisions",
        "SELECT, INSERT, UPDATE, DELETE ON campaign_members",
        "INSERT ON audit",
        "SELECT, UPDATE (relayed_at), DELETE ON outbox",
        "EXECUTE ON FUNCTION stillwatch_ensure_partition(text, date)",
        "EXECUTE ON FUNCTION stillwatch_drop_partitions(text, timestamptz)",
    ),
    "stillwatch_api": (
        "USAGE ON SCHEMA public",
        "SELECT ON alerts, alert_revisions, evidence, campaign_members, labels, entitlements, audit, sink_progress",
        "UPDATE (state, version) ON alerts",
        "INSERT ON labels, audit, outbox",
        "INSERT, UPDATE (revoked_at, revoked_by) ON entitlements",
        "EXECUTE ON FUNCTION stillwatch_ensure_partition(text, date)",
    ),
    "stillwatch_reader": (
        "USAGE ON SCHEMA public",
        "SELECT ON alerts, alert_revisions, evidence, campaign_members, labels, entitlements, audit, sink_progress",
    ),
}
DROP_ROLES = """
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['stillwatch_migrator', 'stillwatch_writer', 'stillwatch_api', 'stillwatch_reader'] LOOP
        CONTINUE WHEN NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = name);
        BEGIN
            EXECUTE format('DROP ROLE %I', name);
        EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
            RAISE NOTICE 'role % stays: another database needs it, or it is the operator''s', name;
        END;
    END LOOP;
END $$
"""


def _where_role_exists(role: str, statement: str) -> str:
    return (
        f"DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN "  # noqa: S608 - names of ours
        f"{statement}; END IF; END $$"
    )


def upgrade() -> None:
    op.execute(CREATE_ROLES)
    for role, grants in GRANTS.items():
        for grant in grants:
            op.execute(_where_role_exists(role, f"GRANT {grant} TO {role}"))


def downgrade() -> None:
    for role, grants in GRANTS.items():
        for grant in grants:
            op.execute(_where_role_exists(role, f"REVOKE {grant} FROM {role}"))
    op.execute(DROP_ROLES)
