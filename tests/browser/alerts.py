"""Alerts on the real topic, so that a queue of some length comes the way that every alert comes."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta

from confluent_kafka import Producer

from detection.outcomes import Alert, Evidence, FindingReference, Member
from schemas.alert import encode_alert
from schemas.topics import ALERTS

KINDS = (
    ("pool", "campaign", "prefix_16", "directional_tail", "act like one operator: hardly anyone repeats a prompt"),
    ("pool", "campaign", "payment", "directional_tail", "act like one operator: they share the traffic evenly"),
    ("account", "account", "", "account_tail", "One account stands out after 320 requests: its answers are long"),
)
SEVERITIES = ("low", "medium", "high", "critical")


def keyed(kind: str, number: int) -> str:
    """Give what looks like an identifier of ours: 16 digits without an order."""
    return hashlib.blake2b(f"{kind}/{number}".encode(), digest_size=8).hexdigest()


def make(number: int, now: datetime, *, members: int = 6) -> Alert:
    """Raise an alert as the incidents job would, 23 minutes older for each number."""
    lane, subject_kind, family, detector, words = KINDS[number % len(KINDS)]
    size = members if subject_kind == "campaign" else 1
    event_time = f"{now - timedelta(minutes=23 * (number % 90)):%Y-%m-%dT%H:%M:%SZ}"
    title = words if size == 1 else f"{size} customers with the same first 16 words {words}"
    subject = keyed("subject", number)
    return Alert(
        alert_id=keyed("alert", number),
        revision=1,
        kind="alert",
        lane=lane,
        subject_kind=subject_kind,
        subject=subject,
        event_time=event_time,
        updated_time=event_time,
        score=round(3.1 + number % 7 / 3, 4),
        severity=SEVERITIES[number % 4],
        confidence=round(0.5 + number % 10 / 25, 4),
        title=title,
        requests=200 + 37 * number,
        contributions=[
            Evidence(feature="cue_reasoning", actual=0.96, expected=0.02, weight=0.9),
            Evidence(feature="evenness", actual=0.81, expected=0.5, weight=0.7),
            Evidence(feature="own_prefix", actual=0.01, expected=0.6, weight=0.5 + number % 3 / 10),
        ],
        members=[
            Member(
                account=subject if size == 1 else keyed("account", 16 * number + place),
                customer=keyed("customer", number // 4),
                requests=30 + place,
                strength=round(0.95 - place / 20, 4),
                since=event_time,
            )
            for place in range(size)
        ],
        findings=[
            FindingReference(
                finding_id=keyed("finding", 8 * number + hop),
                lane=lane,
                detector=detector,
                family=family,
                subject=keyed("pool", number),
                hop=int((now - timedelta(minutes=23 * (number % 90))).timestamp() * 1000) // 900_000 - hop,
                score=round(3.0 + hop / 5, 4),
                customers=size,
                requests=200,
            )
            for hop in range(4)
        ],
        config_version="2026.11.1",
    )


def send_alerts(servers: str, *, count: int, first: int = 0) -> None:
    """Put alerts on the topic, as many as asked, numbered from ``first``."""
    producer = Producer({"bootstrap.servers": servers, "partitioner": "murmur2_random"})
    now = datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251 - the stack that reads them has the real clock
    for number in range(first, first + count):
        alert = make(number, now)
        producer.produce(ALERTS.name, key=alert.alert_id.encode(), value=encode_alert(alert))
    producer.flush(60)
