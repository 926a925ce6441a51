"""Use of entitlements on a real database: counted once, by day, and told once before the limit."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from schemas.account_window import AccountWindow
from schemas.alert import decode_alert
from services.adapters.postgres import entitlements, metering
from services.adapters.postgres.moments import to_unix_ms
from tests.integration.database.samples import NOW, account_id

if TYPE_CHECKING:
    from sqlalchemy import Engine

pytestmark = pytest.mark.integration
TENANT, OWNER = "acme", account_id(900)


def window(account: int, requests: int, **changes: Any) -> AccountWindow:
    told: dict[str, Any] = {
        "account": account_id(account),
        "organization": OWNER,
        "hop": 1,
        "hop_end_unix_ms": to_unix_ms(NOW),
        "requests": requests,
        "input_tokens": 5,
        "output_tokens": 10 * requests,
        "total_requests": requests,
    }
    return AccountWindow(**(told | changes))


def grant(engine: Engine, **changes: Any) -> str:
    told: dict[str, Any] = {
        "subject_kind": "organization",
        "subject": OWNER,
        "kind": "licence",
        "valid_from": NOW - timedelta(days=2),
        "valid_until": NOW + timedelta(days=60),
        "reference": "contract 7",
        "actor": "lea",
        "daily_requests": 100,
    }
    with Session(engine) as session, session.begin():
        return entitlements.add_entitlement(
            session, TENANT, entitlements.Grant(**(told | changes)), NOW - timedelta(days=2)
        ).entitlement_id


def test_use_is_summed_by_day_and_told_once_before_the_limit_and_at_it(engine: Engine) -> None:
    entitlement = grant(engine)
    with Session(engine) as session, session.begin():
        earlier = to_unix_ms(NOW - timedelta(days=1))
        windows = [
            window(1, 50),
            window(2, 30),
            window(3, 7, hop_end_unix_ms=earlier),
            window(4, 99, organization=account_id(901)),
            window(5, 99, hop_end_unix_ms=to_unix_ms(NOW - timedelta(days=9))),
        ]
        assert metering.count(session, TENANT, windows, {0: 5}, NOW) == 3
        assert metering.tell(session, TENANT, NOW, "test") == 1
        assert metering.tell(session, TENANT, NOW, "test") == 0
        assert metering.next_offsets(session, TENANT) == {0: 5}
    with Session(engine) as session, session.begin():
        metering.count(session, TENANT, [window(1, 20)], {0: 6}, NOW)
        assert metering.tell(session, TENANT, NOW, "test") == 1
        used = metering.usage_of(session, TENANT, entitlement)
        assert [(day.requests, day.output_tokens) for day in used] == [(100, 1000), (7, 70)]
        volume = metering.volume_of(session, entitlements.find_entitlement(session, TENANT, entitlement), NOW)
        assert (volume.requests_today, volume.requests_total) == (100, 107)
        rows = session.execute(text("SELECT value FROM outbox WHERE topic = 'alerts' ORDER BY id")).all()
    told = [decode_alert(bytes(row.value)) for row in rows]
    assert [(alert.kind, alert.revision) for alert in told] == [("entitlement_notice", 1), ("entitlement_notice", 2)]
    with Session(engine) as session, pytest.raises(entitlements.UnknownEntitlementError):
        entitlements.find_entitlement(session, TENANT, "none")


def test_the_end_is_told_before_it_comes_in_grace_and_not_after(engine: Engine) -> None:
    grant(engine, valid_until=NOW + timedelta(days=3), daily_requests=None)
    told = []
    for days in (0, 4, 30):
        with Session(engine) as session, session.begin():
            told.append(metering.tell(session, TENANT, NOW + timedelta(days=days), "test"))
    assert told == [1, 1, 0]
