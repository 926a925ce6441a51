"""Alerts as the incidents job would raise them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from detection.outcomes import Alert, Evidence, FindingReference, Member
from schemas.alert import encode_alert
from services.adapters.postgres.alert_store import Incoming, store_alerts
from services.adapters.postgres.moments import read_moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def account_id(number: int) -> str:
    return f"{number:016x}"


def make_alert(number: int = 1, revision: int = 1, *, members: int = 3, hour: int = 8, **changes: Any) -> Alert:
    """Raise an alert on a campaign; a higher revision has one more finding and stronger members."""
    event_time = f"2026-03-{1 + number % 9:02d}T{hour:02d}:00:00Z"
    values: dict[str, Any] = {
        "alert_id": f"a{number:015x}",
        "revision": revision,
        "kind": "alert",
        "lane": "pool",
        "subject_kind": "campaign",
        "subject": f"c{number:015x}",
        "event_time": event_time,
        "updated_time": f"2026-03-{1 + number % 9:02d}T{(hour + revision // 60) % 24:02d}:{revision % 60:02d}:00Z",
        "score": 0.9 + revision / 1000,
        "severity": "high",
        "confidence": 0.8,
        "title": f"{members} accounts share a template and send at interchangeable rates",
        "requests": 1000 * revision,
        "contributions": [
            Evidence(feature="count_dispersion", actual=0.31, expected=1.0, weight=0.4),
            Evidence(feature="template_share", actual=0.97, expected=0.12, weight=0.3),
        ],
        "members": [
            Member(
                account=account_id(100 * number + place),
                customer=account_id(9000 + number),
                requests=100 + revision,
                strength=round(0.5 + place % 40 / 100 + revision / 1000, 4),
                since=event_time,
            )
            for place in range(members)
        ],
        "findings": [
            FindingReference(
                finding_id=f"f{number:07x}{hop:08x}",
                lane="pool",
                detector="half-space-trees",
                family="template",
                subject=f"b{number:015x}",
                hop=hop,
                score=0.9,
                customers=3,
                requests=500,
            )
            for hop in range(revision)
        ],
        "config_version": "default-1",
    }
    return Alert(**(values | changes))


def incoming(alert: Alert) -> Incoming:
    return Incoming(alert, encode_alert(alert), read_moment(alert.event_time), read_moment(alert.updated_time))


def store(engine: Engine, tenant: str, alerts: Sequence[Alert], now: datetime = NOW) -> None:
    with engine.begin() as connection:
        store_alerts(connection, tenant, [incoming(alert) for alert in alerts], now)
