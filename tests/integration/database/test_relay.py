"""A label's way out: the same transaction, then the topic; at least once, in order, woken by the insert."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from confluent_kafka import Consumer, Producer
from sqlalchemy import select, text

from schemas.label import Label
from schemas.topics import LABELS
from services.adapters.clock import SystemClock
from services.adapters.kafka.dead_letters import DeliveryError
from services.adapters.postgres import measuring, outbox
from services.adapters.postgres.labelling import Wish, label_alert
from services.adapters.postgres.lifecycle.acts import LostRaceError
from services.adapters.postgres.lifecycle.answered import KeyReusedError
from services.adapters.postgres.moments import EPOCH
from services.adapters.postgres.tables import AlertRow, AuditRow, LabelRow, OutboxRow
from services.alert_sink.relay import Relay, RelayOptions, WakeUp
from services.telemetry.metrics import Metrics
from tests.integration.database.samples import NOW, make_alert, store
from tests.topics import make_topic

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

pytestmark = pytest.mark.integration


def make_wish(number: int = 1, **changes: object) -> Wish:
    values: dict[str, object] = {
        "alert_id": make_alert(number).alert_id,
        "verdict": "true_positive",
        "reason": "shared template",
        "actor": "ana",
    }
    return Wish(**(values | changes))  # type: ignore[arg-type]  # a table of changes, checked by the class


def make_relay(servers: str, engine: Engine, url: str, stop: threading.Event, poll_seconds: float = 5.0) -> Relay:
    options = RelayOptions(tenant="acme", poll_seconds=poll_seconds, delivery_seconds=10.0)
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "delivery.timeout.ms": 5000})
    return Relay(producer, engine, WakeUp(url), Metrics(), SystemClock(), options, stop)


def test_the_relay_tells_how_large_the_database_is_and_what_waits(
    bootstrap_servers: str, engine: Engine, database_url: str
) -> None:
    relay = make_relay(bootstrap_servers, engine, database_url, threading.Event())
    with engine.begin() as connection:
        found = measuring.measure(connection)
        whole = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
    assert {"alerts", "evidence", "alert_revisions", "outbox", "audit"} < set(found.sizes)
    assert sum(found.sizes.values()) == pytest.approx(whole, rel=0.2)
    assert found.sessions["active"] >= 1
    with engine.begin() as connection:
        at = EPOCH + timedelta(milliseconds=SystemClock().now_ms()) - timedelta(minutes=5)
        outbox.append(connection, tenant="acme", topic="labels", key="k", value=b"{}", headers={}, at=at)
    relay._tidy()
    figures = relay._metrics.registry.get_sample_value
    assert figures("stillwatch_outbox_pending") == 1
    assert 300 <= (figures("stillwatch_outbox_oldest_seconds") or 0) < 400
    assert (figures("stillwatch_database_bytes", {"part": "outbox"}) or 0) > 0


def labels_of(servers: str, alert_id: str, wanted: int) -> list[tuple[Label, dict[str, bytes]]]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([LABELS.name])
    found: list[tuple[Label, dict[str, bytes]]] = []
    deadline = time.monotonic() + 20
    while len(found) < wanted and time.monotonic() < deadline:
        for message in consumer.consume(100, 0.2):
            if message.key() == alert_id.encode():
                label = msgspec.json.decode(message.value() or b"", type=Label)
                found.append((label, dict(message.headers() or [])))  # type: ignore[arg-type]  # the client's own type is wider
    consumer.close()
    return found


@pytest.fixture
def labels_topic(bootstrap_servers: str) -> str:
    make_topic(bootstrap_servers, LABELS.name)
    return LABELS.name


def test_a_label_is_four_rows_or_none(engine: Engine, session: Session) -> None:
    store(engine, "acme", [make_alert(1)])
    labelled = label_alert(session, "acme", make_wish(), NOW)
    session.rollback()
    assert session.scalars(select(LabelRow)).all() == []
    assert session.scalars(select(OutboxRow)).all() == []
    labelled = label_alert(session, "acme", make_wish(), NOW)
    session.commit()
    (row,) = session.scalars(select(OutboxRow)).all()
    label = msgspec.json.decode(row.value, type=Label)
    assert (row.topic, row.key, row.headers["ce_id"]) == ("labels", label.alert_id, label.label_id)
    assert (label.label_id, label.alert_revision, label.labelled_at) == (
        labelled.label.label_id,
        1,
        "2026-03-10T12:00:00.000Z",
    )
    act = session.scalars(select(AuditRow)).one()
    assert (act.actor, act.action) == ("ana", "alert.labelled")
    assert act.before is not None
    assert (act.before["state"], act.before["label_id"]) == ("open", None)
    assert session.scalars(select(AlertRow.state)).one() == "labelled"


def test_a_lost_race_and_a_reused_key_write_nothing(engine: Engine, session: Session) -> None:
    store(engine, "acme", [make_alert(1)])
    first = label_alert(session, "acme", make_wish(expected_versions=frozenset({1}), idempotency_key="k1"), NOW)
    session.commit()
    with pytest.raises(LostRaceError):
        label_alert(session, "acme", make_wish(expected_versions=frozenset({1})), NOW)
    session.rollback()
    again = label_alert(session, "acme", make_wish(expected_versions=frozenset({1}), idempotency_key="k1"), NOW)
    assert (again.replayed, again.label.label_id) == (True, first.label.label_id)
    with pytest.raises(KeyReusedError):
        label_alert(session, "acme", make_wish(verdict="benign", idempotency_key="k1"), NOW)
    session.rollback()
    assert len(session.scalars(select(LabelRow)).all()) == 1


def test_one_key_on_two_alerts_is_refused(engine: Engine, session: Session) -> None:
    store(engine, "acme", [make_alert(1), make_alert(2)])
    label_alert(session, "acme", make_wish(1, idempotency_key="k1"), NOW)
    with pytest.raises(KeyReusedError):
        label_alert(session, "acme", make_wish(2, idempotency_key="k1"), NOW)


def test_a_label_reaches_the_topic_when_it_is_committed(
    engine: Engine, session: Session, bootstrap_servers: str, database_url: str, labels_topic: str
) -> None:
    alert = make_alert(int(uuid.uuid4().hex[:6], 16))
    store(engine, "acme", [alert])
    stop = threading.Event()
    # A poll would come after a minute: what arrives sooner was woken by the insert.
    relay = make_relay(bootstrap_servers, engine, database_url, stop, poll_seconds=60.0)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        threading.Event().wait(1.0)
        for verdict in ("insufficient_data", "benign", "true_positive"):
            label_alert(session, "acme", make_wish(alert_id=alert.alert_id, verdict=verdict), NOW)
            session.commit()
        found = labels_of(bootstrap_servers, alert.alert_id, 3)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
    assert [label.verdict for label, _ in found] == ["insufficient_data", "benign", "true_positive"]
    assert all(headers["ce_id"].decode() == label.label_id for label, headers in found)
    with engine.connect() as connection:
        assert outbox.count_pending(connection, "acme") == 0


def test_a_relay_that_died_before_it_marked_sends_again_under_the_same_id(
    engine: Engine, session: Session, bootstrap_servers: str, database_url: str, labels_topic: str
) -> None:
    alert = make_alert(int(uuid.uuid4().hex[:6], 16))
    store(engine, "acme", [alert])
    label_alert(session, "acme", make_wish(alert_id=alert.alert_id), NOW)
    session.commit()
    relay = make_relay(bootstrap_servers, engine, database_url, threading.Event())
    assert relay.relay_batch() == 1
    session.execute(text("UPDATE outbox SET relayed_at = NULL"))
    session.commit()
    assert relay.relay_batch() == 1
    assert relay.relay_batch() == 0
    first, second = labels_of(bootstrap_servers, alert.alert_id, 2)
    assert first[0] == second[0]
    assert first[1]["ce_id"] == second[1]["ce_id"]


def test_rows_stay_pending_when_no_broker_answers(engine: Engine, session: Session, database_url: str) -> None:
    store(engine, "acme", [make_alert(1)])
    label_alert(session, "acme", make_wish(), NOW)
    session.commit()
    producer = Producer({"bootstrap.servers": "127.0.0.1:9", "log_level": 0})
    options = RelayOptions(tenant="acme", delivery_seconds=0.5)
    relay = Relay(producer, engine, WakeUp(database_url), Metrics(), SystemClock(), options, threading.Event())
    with pytest.raises(DeliveryError):
        relay.relay_batch()
    producer.purge()
    with engine.connect() as connection:
        assert outbox.count_pending(connection, "acme") == 1


def test_a_second_relay_takes_neither_a_held_row_nor_the_next_of_its_key(engine: Engine, session: Session) -> None:
    store(engine, "acme", [make_alert(1), make_alert(2)])
    for number in (1, 1, 2):
        label_alert(session, "acme", make_wish(number), NOW)
    session.commit()
    with engine.connect() as first, engine.connect() as second:
        (held,) = outbox.take(first, "acme", 1)
        taken = outbox.take(second, "acme", 10)
        assert held.key == make_alert(1).alert_id
        assert [row.key for row in taken] == [make_alert(2).alert_id]
        outbox.mark_relayed(first, [held.id], NOW)
        first.commit()
        second.rollback()
        assert [row.key for row in outbox.take(second, "acme", 10)] == [make_alert(1).alert_id, make_alert(2).alert_id]
