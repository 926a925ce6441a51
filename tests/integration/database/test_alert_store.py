"""Whatever the order and however often a record comes, the database ends the same, and analysts' work stays."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text, update

from schemas.alert import encode_alert
from services.adapters.postgres.alert_store import store_alerts
from services.adapters.postgres.alerts import AlertFilter, export_records, list_alerts, list_members, read_alert
from services.adapters.postgres.cursors import CursorError
from services.adapters.postgres.labelling import Wish, label_alert
from services.adapters.postgres.partitions import drop_expired, ensure_ahead
from services.adapters.postgres.tables import AlertRow, AuditRow
from tests.integration.database.samples import NOW, account_id, incoming, make_alert, store

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

pytestmark = pytest.mark.integration
TABLES = ("alerts", "alert_revisions", "evidence", "campaign_members")


def dump(engine: Engine, tenant: str) -> dict[str, Any]:
    """Everything that the tables say, but for when it was written and how often it was touched."""
    with engine.connect() as connection:
        return {
            table: connection.execute(
                text(
                    f"SELECT to_jsonb({table}) - 'stored_at' - 'version' - 'tenant' AS row "  # noqa: S608 - a constant
                    f"FROM {table} "
                    "WHERE tenant = :tenant ORDER BY 1"
                ),
                {"tenant": tenant},
            )
            .scalars()
            .all()
            for table in TABLES
        }


def test_redelivery_and_disorder_change_nothing(engine: Engine) -> None:
    revisions = [make_alert(number, revision, members=2 + number) for number in range(6) for revision in (1, 2, 3)]
    store(engine, "orderly", revisions)
    expected = dump(engine, "orderly")
    assert [len(rows) for rows in expected.values()] == [6, 18, 18, 27]
    for seed in range(8):
        chance = random.Random(seed)  # noqa: S311 - disorder, not a secret
        delivered = [alert for alert in revisions for _ in range(chance.randint(1, 3))]
        chance.shuffle(delivered)
        tenant = f"disorderly-{seed}"
        while delivered:
            size = chance.randint(1, 9)
            store(engine, tenant, delivered[:size])
            del delivered[:size]
        assert dump(engine, tenant) == expected


def test_outcomes_tell_new_grown_known_and_a_broken_promise(engine: Engine) -> None:
    first, second = make_alert(1, 1), make_alert(1, 2)
    other_bytes = make_alert(1, 2, title="another title")
    with engine.begin() as connection:
        stored = store_alerts(connection, "acme", [incoming(alert) for alert in (first, second, first)], NOW)
        again = store_alerts(connection, "acme", [incoming(second), incoming(other_bytes)], NOW)
    assert stored.outcomes == ["new", "grown", "known"]
    assert (again.outcomes, again.conflicts) == (["known", "known"], [1])


def test_the_members_are_those_of_the_newest_revision(engine: Engine, session: Session) -> None:
    store(engine, "acme", [make_alert(1, 1, members=5)])
    store(engine, "acme", [make_alert(1, 2, members=3)])
    members = list_members(session, "acme", make_alert(1).alert_id).rows
    assert [member.account for member in members] == [account_id(102), account_id(101), account_id(100)]


def test_a_large_campaign_is_stored_whole(engine: Engine, session: Session) -> None:
    alert = make_alert(7, members=25_000)
    store(engine, "acme", [alert])
    counted = session.execute(text("SELECT count(*), count(DISTINCT account) FROM campaign_members")).one()
    assert tuple(counted) == (25_000, 25_000)
    assert next(export_records(session, "acme")) == encode_alert(alert)


def test_new_evidence_keeps_what_an_analyst_did(engine: Engine, session: Session) -> None:
    alert = make_alert(1, 1)
    store(engine, "acme", [alert])
    wish = Wish(alert_id=alert.alert_id, verdict="true_positive", reason="shared template", actor="ana")
    label_alert(session, "acme", wish, NOW)
    session.commit()
    store(engine, "acme", [make_alert(1, 2)])
    session.expire_all()
    detail = read_alert(session, "acme", alert.alert_id)
    assert (detail.alert.revision, detail.alert.state, detail.alert.version) == (2, "labelled", 3)
    assert [(label.alert_revision, label.reason) for label in detail.labels] == [(1, "shared template")]
    assert len(detail.evidence) == 2


def test_new_evidence_opens_a_closed_alert_and_says_so(engine: Engine, session: Session) -> None:
    alert = make_alert(1, 1)
    store(engine, "acme", [alert])
    with engine.begin() as connection:
        connection.execute(update(AlertRow).values(state="closed"))
    store(engine, "acme", [alert])
    assert session.scalars(select(AlertRow.state)).one() == "closed"
    store(engine, "acme", [make_alert(1, 2)])
    session.rollback()
    assert session.scalars(select(AlertRow.state)).one() == "reopened"
    act = session.scalars(select(AuditRow)).one()
    assert (act.actor, act.action, act.subject) == ("alert-sink", "alert.reopened", f"alert/{alert.alert_id}")
    assert (act.before, act.after) == (
        {"state": "closed", "revision": 1},
        {"state": "reopened", "revision": 2, "new_findings": 1, "findings": ["f000000100000001"]},
    )


def test_export_is_the_exact_bytes_in_order(engine: Engine, session: Session) -> None:
    alerts = [make_alert(number, revision) for number in (5, 3, 9, 1) for revision in (1, 2)]
    store(engine, "acme", alerts)
    newest = sorted((alert for alert in alerts if alert.revision == 2), key=lambda a: (a.event_time, a.alert_id))
    assert list(export_records(session, "acme")) == [encode_alert(alert) for alert in newest]


def test_pages_hold_every_alert_once_while_others_arrive(engine: Engine, session: Session) -> None:
    store(engine, "acme", [make_alert(number) for number in range(20)])
    seen: list[str] = []
    cursor = None
    while True:
        page = list_alerts(session, "acme", limit=7, cursor=cursor)
        seen += [row.alert_id for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
        store(engine, "acme", [make_alert(100 + len(seen), hour=23, event_time="2026-04-01T00:00:00Z")])
        session.rollback()
    assert len(seen) == len(set(seen)) == 20


def test_tenants_never_meet(engine: Engine, session: Session) -> None:
    store(engine, "acme", [make_alert(1)])
    store(engine, "other", [make_alert(1, 2)])
    (row,) = list_alerts(session, "acme").rows
    assert (row.tenant, row.revision) == ("acme", 1)
    assert list_members(session, "third", row.alert_id).rows == []


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (AlertFilter(severity="high"), {1, 2}),
        (AlertFilter(severity="low"), {3}),
        (AlertFilter(subject_kind="account"), {3}),
        (AlertFilter(account=account_id(201)), {2}),
        (AlertFilter(account="c000000000000003"), {3}),
        (AlertFilter(account="c000000000000001"), set()),
        (AlertFilter(state="closed"), set()),
        (AlertFilter(since=datetime(2026, 3, 3, tzinfo=UTC)), {2, 3}),
        (AlertFilter(until=datetime(2026, 3, 3, tzinfo=UTC)), {1}),
        (AlertFilter(lane="pool", kind="alert", state="open"), {1, 2, 3}),
    ],
)
def test_filters(engine: Engine, session: Session, wanted: AlertFilter, expected: set[int]) -> None:
    store(engine, "acme", [make_alert(1), make_alert(2), make_alert(3, severity="low", subject_kind="account")])
    assert {int(row.alert_id[1:], 16) for row in list_alerts(session, "acme", wanted).rows} == expected


@pytest.mark.parametrize("token", ["", "x", "bm8", "WzEsMl0", "WzFlOTk5LCJhIl0", "W05hTiwgImEiXQ", "WyIxIiwiYSJd"])
def test_a_cursor_that_is_none_is_refused(session: Session, token: str) -> None:
    with pytest.raises(CursorError):
        list_alerts(session, "acme", cursor=token)


def test_old_traces_find_a_partition_and_expire_by_when_they_were_stored(engine: Engine) -> None:
    old = make_alert(1, event_time="2023-11-05T00:00:00Z", updated_time="2023-11-05T00:00:00Z")
    store(engine, "acme", [old, make_alert(2)])
    with engine.begin() as connection:
        assert drop_expired(connection, NOW, retention_days=30) == []
        later = NOW + timedelta(days=40)
        ensure_ahead(connection, later)
        assert drop_expired(connection, later, retention_days=30) == [
            "evidence_p202311",
            "alert_revisions_p202311",
        ]
        left = connection.execute(text("SELECT count(*) FROM evidence")).scalar_one()
    assert left == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "UPDATE audit_p202603 SET actor = 'nobody'",
        "DELETE FROM audit_p202603",
        "TRUNCATE audit_p202603",
        "UPDATE labels SET verdict = 'benign'",
        "DELETE FROM labels",
        "SELECT stillwatch_drop_partitions('audit', now())",
        "SELECT stillwatch_ensure_partition('alerts', '2026-01-01')",
    ],
)
def test_what_is_only_added_cannot_be_changed_by_the_owner_either(
    engine: Engine, session: Session, statement: str
) -> None:
    alert = make_alert(1)
    store(engine, "acme", [alert])
    wish = Wish(alert_id=alert.alert_id, verdict="true_positive", reason="shared template", actor="ana")
    label_alert(session, "acme", wish, NOW)
    session.commit()
    with pytest.raises(Exception, match=r"only added, never changed|do not expire|no partitioned table"):
        session.execute(text(statement))
    session.rollback()
    assert session.scalars(select(AuditRow.actor)).all() == ["ana"]
