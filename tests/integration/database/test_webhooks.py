"""Webhooks on a real database and a real broker: enqueued once, signed, tried again, given up; OCSF on its topic."""

from __future__ import annotations

import json
import random
import threading
import uuid
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, Producer
from sqlalchemy.orm import Session

from schemas.alert import encode_alert
from schemas.topics import ALERTS, ALERTS_OCSF
from services.adapters.postgres import webhooks
from services.adapters.postgres.moments import to_unix_ms
from services.subscribers.signing import secret_of, verify
from services.subscribers.worker import Options, Subscribers
from services.telemetry.metrics import Metrics
from tests.integration.database.samples import NOW, make_alert
from tests.topics import make_topics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]
TENANT, MASTER = "acme", b"m" * 32


class Hands:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def now_ms(self) -> int:
        return to_unix_ms(self.now)

    def monotonic(self) -> float:
        return 0.0


class Receiver:
    """A subscriber's server: answers with the statuses it is given, then with 204."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers.items()), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def subscribers(engine: Engine, clock: Hands, bootstrap: str, *, private: bool = True) -> Subscribers:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer({"bootstrap.servers": bootstrap})
    options = Options(
        tenant=TENANT, version="0.1.0", master=MASTER, allow_private=private, link_base="https://s.example"
    )
    return Subscribers(consumer, producer, engine, Metrics(), clock, random.Random(1), options, threading.Event())  # noqa: S311 - jitter


def subscribe(engine: Engine, url: str, **changes: Any) -> str:
    told: dict[str, Any] = {"template": "alert", "minimum_severity": "low", "routing_key": "", "actor": "lea"}
    with Session(engine) as session, session.begin():
        return webhooks.add_webhook(session, TENANT, url=url, now=NOW, **(told | changes)).webhook_id


def enqueue(engine: Engine, webhook_id: str, event: str, body: bytes) -> bool:
    with Session(engine) as session, session.begin():
        return webhooks.enqueue(session, webhooks.find_webhook(session, TENANT, webhook_id), event, body, NOW)


def test_a_delivery_is_signed_tried_again_after_a_failure_and_never_doubled(
    engine: Engine, receiver: Receiver, bootstrap_servers: str
) -> None:
    clock = Hands()
    work = subscribers(engine, clock, bootstrap_servers)
    webhook = subscribe(engine, receiver.url)
    assert enqueue(engine, webhook, "a.1", b"{}")
    assert not enqueue(engine, webhook, "a.1", b"{}")
    receiver.statuses = [503]
    assert work.deliver_one()
    assert not work.deliver_one()  # It waits for its next try.
    clock.now += timedelta(seconds=8)
    assert work.deliver_one()
    clock.now += timedelta(days=1)
    assert not work.deliver_one()
    (first, _), (second, body) = receiver.got
    assert first["Stillwatch-Delivery"] == second["Stillwatch-Delivery"]
    assert verify(secret_of(MASTER, webhook, 1), second["Stillwatch-Signature"], body, to_unix_ms(NOW) // 1000 + 8)


def test_both_secrets_sign_for_a_day_after_a_rotation(
    engine: Engine, receiver: Receiver, bootstrap_servers: str
) -> None:
    clock = Hands()
    work = subscribers(engine, clock, bootstrap_servers)
    webhook = subscribe(engine, receiver.url)
    with Session(engine) as session, session.begin():
        webhooks.rotate(session, TENANT, webhook, actor="lea", now=clock.now)
    for place, old_holds in enumerate((True, False)):
        enqueue(engine, webhook, f"a.{place}", b"{}")
        assert work.deliver_one()
        headers, body = receiver.got[place]
        seconds = clock.now_ms() // 1000
        assert verify(secret_of(MASTER, webhook, 2), headers["Stillwatch-Signature"], body, seconds)
        assert verify(secret_of(MASTER, webhook, 1), headers["Stillwatch-Signature"], body, seconds) is old_holds
        clock.now += timedelta(days=1)


def test_who_says_gone_or_is_private_gets_nothing_more(
    engine: Engine, receiver: Receiver, bootstrap_servers: str
) -> None:
    clock = Hands()
    webhook = subscribe(engine, receiver.url)
    enqueue(engine, webhook, "a.1", b"{}")
    guarded = subscribers(engine, clock, bootstrap_servers, private=False)
    assert guarded.deliver_one()
    assert receiver.got == []
    clock.now += timedelta(hours=1)
    receiver.statuses = [410]
    assert subscribers(engine, clock, bootstrap_servers).deliver_one()
    clock.now += timedelta(days=2)
    assert not guarded.deliver_one()
    assert len(receiver.got) == 1
    with Session(engine) as session, session.begin():
        webhooks.purge(session, TENANT, clock.now + timedelta(days=9))
        webhooks.remove(session, TENANT, webhook, actor="lea", now=clock.now)
        assert webhooks.count_pending(session, TENANT) == 0
    with Session(engine) as session, pytest.raises(webhooks.UnknownWebhookError):
        webhooks.find_webhook(session, TENANT, webhook)


def test_alerts_go_to_who_wants_them_and_to_the_ocsf_topic(
    engine: Engine, receiver: Receiver, bootstrap_servers: str
) -> None:
    make_topics(bootstrap_servers, (ALERTS.name, ALERTS_OCSF.name))
    clock = Hands()
    work = subscribers(engine, clock, bootstrap_servers)
    subscribe(engine, receiver.url, template="slack", minimum_severity="high")
    subscribe(engine, receiver.url, template="ocsf", minimum_severity="critical")
    marked = make_alert(7, title=f"marked {uuid.uuid4().hex}")
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    producer.produce(ALERTS.name, encode_alert(marked), marked.alert_id.encode())
    producer.produce(ALERTS.name, b"no alert", b"x")
    assert producer.flush(20) == 0
    thread = threading.Thread(target=work.run)
    thread.start()
    finding = _find(bootstrap_servers, marked.title)
    for _ in range(300):
        if any(marked.title.encode() in body for _, body in receiver.got):
            break
        threading.Event().wait(0.1)
    work._stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert finding["class_uid"] == 2004
    texts = [json.loads(body)["text"] for _, body in receiver.got if marked.title.encode() in body]
    assert len(texts) == 1
    assert f"https://s.example/alerts/{marked.alert_id}" in texts[0]


def _find(bootstrap: str, title: str) -> dict[str, Any]:
    config = {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
    consumer = Consumer(config)
    consumer.subscribe([ALERTS_OCSF.name])
    try:
        for _ in range(600):
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                found: dict[str, Any] = json.loads(message.value() or b"{}")
                if found["message"] == title:
                    return found
    finally:
        consumer.close()
    raise AssertionError("the projection did not come")
