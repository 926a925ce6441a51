"""The processes as a supervisor starts them: alert in, label by the command line, label out, an orderly end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest
from confluent_kafka import Consumer, Producer

from schemas.alert import encode_alert
from schemas.label import Label
from schemas.topics import ALERTS, DEAD_LETTERS, ENTITLEMENTS, LABELS
from tests.integration.database.samples import account_id, make_alert
from tests.topics import make_topics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration
CLI = "from services.cli.main import main; main()"


class Product:
    """The environment of the processes, and those that run."""

    def __init__(self, servers: str, url: str, base_dir: Path) -> None:
        self.servers = servers
        self.env = {
            **os.environ,
            "STILLWATCH_BASE_DIR": str(base_dir),
            "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": servers,
            "STILLWATCH_DATABASE_URL": url,
            "STILLWATCH_TENANT": uuid.uuid4().hex[:8],
            "STILLWATCH_ACTOR": "ana",
            "STILLWATCH_LOG_FORMAT": "json",
        }
        self.running: dict[str, subprocess.Popen[str]] = {}

    def start(self, module: str, **env: str) -> dict[str, object]:
        """Start a process; gives its first log line."""
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running[module] = process
        assert process.stderr is not None
        for line in process.stderr:
            told: dict[str, object] = json.loads(line)
            if told["event"] == "process.started":
                return told
        pytest.fail(f"{module} ended with {process.wait()}")

    def stop(self, module: str) -> int:
        process = self.running.pop(module)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
        assert json.loads(told.splitlines()[-1])["event"] == "process.stopped"
        return process.returncode

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", CLI, *arguments], env=self.env, capture_output=True, check=True, timeout=60
        )
        return done.stdout.decode()


@pytest.fixture
def product(bootstrap_servers: str, database_url: str, tmp_path: Path) -> Iterator[Product]:
    make_topics(bootstrap_servers, [topic.name for topic in (ALERTS, LABELS, ENTITLEMENTS, DEAD_LETTERS)])
    made = Product(bootstrap_servers, database_url, tmp_path)
    yield made
    for process in made.running.values():
        process.kill()
        process.communicate()


def wait_ready(port: object) -> dict[str, object]:
    for _ in range(400):
        answer = httpx.get(f"http://127.0.0.1:{port}/readyz")
        if answer.status_code == 200:
            checks: dict[str, object] = answer.json()["checks"]
            return checks
        time.sleep(0.05)
    pytest.fail(f"never ready: {answer.text}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read_topic(servers: str, topic: str, key: str) -> bytes:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        for _ in range(100):
            for message in consumer.consume(100, 0.2):
                if message.key() == key.encode():
                    return message.value() or b""
    finally:
        consumer.close()
    pytest.fail(f"nothing under {key} on {topic}")


def test_from_the_topic_to_the_page_and_back_to_the_topic(product: Product) -> None:
    alert = make_alert(int(uuid.uuid4().hex[:6], 16))
    subject = account_id(int(uuid.uuid4().hex[:6], 16))
    sink = product.start("services.alert_sink")
    relay = product.start("services.alert_sink.relay")
    api = product.start("services.api", STILLWATCH_API_PORT=str(free_port()))
    assert set(wait_ready(sink["metrics_port"])) == {"database", "kafka", "alerts"}
    assert set(wait_ready(relay["metrics_port"])) == {"database", "kafka"}
    assert set(wait_ready(api["metrics_port"])) == {"database", "kafka", "alert_sink"}

    producer = Producer({"bootstrap.servers": product.servers})
    producer.produce(ALERTS.name, key=alert.alert_id, value=encode_alert(alert))
    assert producer.flush(10) == 0
    key = json.loads(product.run("api-keys", "issue", "reader", "--scope", "alerts.read", "--json"))["key"]
    known = {"Authorization": f"Bearer {key}"}
    for _ in range(400):
        page = httpx.get(str(api["url"]) + f"v1/alerts/{alert.alert_id}", headers=known)
        if page.status_code == 200:
            break
        time.sleep(0.05)
    assert page.json()["revision"] == 1
    assert alert.title in httpx.get(str(api["url"]) + "v1/alerts", headers=known).text
    assert httpx.get(str(api["url"]) + "v1/alerts").status_code == 401

    told = json.loads(product.run("alerts", "label", alert.alert_id, "benign", "--reason", "a partner", "--json"))
    label = msgspec.json.decode(read_topic(product.servers, LABELS.name, alert.alert_id), type=Label)
    assert (label.label_id, label.actor, label.reason) == (told["label_id"], "ana", "a partner")

    product.run("entitlements", "add", subject, "--until", "2100-01-01", "--reference", "contract 7")
    assert b'"kind":"licence"' in read_topic(product.servers, ENTITLEMENTS.name, subject)
    assert encode_alert(alert) in product.run("alerts", "export", "--format", "jsonl").encode().splitlines()
    assert [product.stop(name) for name in list(product.running)] == [0, 0, 0]


def test_a_killed_sink_loses_and_doubles_nothing(product: Product) -> None:
    numbers = [int(uuid.uuid4().hex[:6], 16) for _ in range(120)]
    alerts = [make_alert(number, revision) for number in numbers for revision in (1, 2)]
    producer = Producer({"bootstrap.servers": product.servers})
    product.start("services.alert_sink")
    for place, alert in enumerate(alerts):
        producer.produce(ALERTS.name, key=alert.alert_id, value=encode_alert(alert))
        producer.poll(0.005)
        if place == len(alerts) // 2:
            killed = product.running.pop("services.alert_sink")
            killed.kill()
            killed.communicate()
            product.start("services.alert_sink")
    assert producer.flush(10) == 0
    expected = {encode_alert(alert) for alert in alerts if alert.revision == 2}
    for _ in range(60):
        exported = product.run("alerts", "export").encode().splitlines()
        if expected <= set(exported):
            break
        time.sleep(0.5)
    assert expected <= set(exported)
    assert len(exported) == len(set(exported))
    assert product.stop("services.alert_sink") == 0
