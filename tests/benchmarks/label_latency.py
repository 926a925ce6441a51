"""From an analyst's click to the learning job and into the workers: `python -m tests.benchmarks.label_latency`.

The whole product runs as its users run it. Alerts go to their topic, and a person signs in to the console and judges
them one after the other as a browser without scripts would. Measured by this machine's clock, from sending the form:

- ``answered``: the page's answer, which comes after the commit;
- ``label``: the record on the topic ``labels``, which the learning job reads;
- ``model``: the first version on ``models`` that has learned from it;
- ``live``: from another person's promotion until the incidents job says that it orders by that version.

Writes build/label_latency.json.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import threading
import time
from html import unescape
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.alert import encode_alert
from schemas.topics import ALERTS, LABELS, MODELS
from tests.acceptance.product import ROOT, Product, tell, wait_until
from tests.integration.database.samples import make_alert

_MODEL: Final = "supervised"
_PROMOTER: Final = "lee, lead"
_REASON: Final = "Fresh accounts that work one list off, all alike."
_LABELS_SECONDS: Final = 60.0


class Arrivals:
    """When records came to a topic, as a reader of committed records sees them."""

    def __init__(self, servers: str, topics: list[str]) -> None:
        self.seen: dict[str, list[tuple[float, dict[str, Any]]]] = {topic: [] for topic in topics}
        self._consumer = Consumer({"bootstrap.servers": servers, "group.id": "label-latency", "fetch.wait.max.ms": 20})
        self._consumer.assign(
            [
                TopicPartition(topic, partition, 0)
                for topic in topics
                for partition in self._consumer.list_topics(topic, timeout=20).topics[topic].partitions
            ]
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join(10)
        self._consumer.close()

    def _read(self) -> None:
        while not self._over.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self.seen[message.topic() or ""].append((time.monotonic(), json.loads(message.value() or b"{}")))


def sign_in(product: Product) -> httpx.Client:
    """Give a browser in which the first user has signed in with the password that was shown once."""
    found = re.search(r"sign in +(\S+) / (\S+)", product.told.read_text(encoding="utf-8"))
    assert found, product.said()
    port = product.status()["api"]["ports"]["http"]
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", follow_redirects=True, timeout=30)
    client.post("/signin", data={"name": found[1], "password": found[2], "next": "/queue"}).raise_for_status()
    return client


def judge(client: httpx.Client, alert_id: str) -> tuple[float, float]:
    """Open an alert and judge it; gives when the form was sent and when its answer came."""
    page = client.get(f"/alerts/{alert_id}").raise_for_status().text
    fields = dict(re.findall(r'<input type="hidden" name="(csrf_token|version)" value="([^"]*)"', page))
    form = {name: unescape(value) for name, value in fields.items()}
    form |= {"act": "judge", "verdict": "true_positive", "reason": _REASON}
    sent = time.monotonic()
    answer = client.post(f"/alerts/{alert_id}/act", data=form, follow_redirects=False)
    answered = time.monotonic()
    assert "done=judge" in answer.headers.get("location", ""), (answer.status_code, answer.headers.get("location"))
    return sent, answered


def spread(values: list[float]) -> dict[str, float]:
    """Give median, 99th percentile and most, in seconds."""
    return {
        "p50": round(float(np.median(values)), 3),
        "p99": round(float(np.quantile(values, 0.99)), 3),
        "most": round(max(values), 3),
    }


def measure(product: Product, count: int) -> dict[str, Any]:
    """Judge ``count`` alerts, then promote what was learned; gives the figures."""
    alerts = [msgspec.structs.replace(make_alert(number), alert_id=f"b{number:015x}") for number in range(count)]
    producer = Producer({"bootstrap.servers": product.kafka, "enable.idempotence": True})
    for alert in alerts:
        producer.produce(ALERTS.name, encode_alert(alert), alert.alert_id.encode())
    assert producer.flush(30) == 0
    stored = "SELECT count(*) FROM alerts WHERE alert_id LIKE 'b%%'"
    wait_until(lambda: product.rows(stored)[0][0] == count, 60, "every alert is stored")
    client, arrivals = sign_in(product), Arrivals(product.kafka, [LABELS.name, MODELS.name])
    sent: dict[str, float] = {}
    answered: list[float] = []
    for alert in alerts:
        sent[alert.alert_id], done = judge(client, alert.alert_id)
        answered.append(done - sent[alert.alert_id])
        time.sleep(0.5)
    labels = arrivals.seen[LABELS.name]
    models = arrivals.seen[MODELS.name]
    wait_until(lambda: len(labels) >= count, _LABELS_SECONDS, "every label is on its topic")

    def learned() -> list[tuple[float, int]]:
        return [(at, row["trained_on"]) for at, row in list(models) if row.get("model") == _MODEL]

    wait_until(lambda: any(on >= count for _, on in learned()), _LABELS_SECONDS, "a version has learned from all")
    arrivals.stop()
    told = {row["alert_id"]: at for at, row in labels}
    # Labels are learned from in the order of their topic, so the n-th is in the first version trained on n or more.
    order = [row["alert_id"] for _, row in labels]
    in_model = {
        alert_id: min(at for at, on in learned() if on >= place) for place, alert_id in enumerate(order, start=1)
    }
    began = time.monotonic()
    product.run("models", "promote", "--model", _MODEL, "--actor", _PROMOTER)
    done = time.monotonic()

    def loaded() -> float:
        return max(product.gauge("incidents", "stillwatch_model_live_version", model=_MODEL), default=0.0)

    live = wait_until(
        lambda: loaded() > 0,
        _LABELS_SECONDS,
        "the incidents job has the head",
    )
    return {
        "labels": count,
        "seconds": {
            "answered": spread(answered),
            "label": spread([told[alert_id] - at for alert_id, at in sent.items()]),
            "model": spread([in_model[alert_id] - at for alert_id, at in sent.items()]),
            "live": {"command": round(done - began, 3), "then": round(live, 3)},
        },
        "version": int(loaded()),
    }


def main() -> int:
    """Run the product and measure; gives the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--labels", type=int, default=40, help="number of alerts to judge (default: 40)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "label_latency.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        product = Product(Path(folder), partitions=2)
        try:
            product.start()
            result = measure(product, asked.labels)
            product.stop()
        finally:
            product.kill()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    tell(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
