"""From an alert in Kafka to the first request that the middleware holds back, on a real broker and a real database.

The issuer and the relay run as their commands start them; the gateway's middleware follows the topic. The figures are
printed, and no speed is asserted: what must hold is that every alert's account is refused, and forged or replayed
records on the topic itself change nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from schemas.alert import encode_alert
from schemas.topics import TOPICS
from services.adapters.signatures import Signer
from services.gateway.configuration import GatewayConfiguration, Secret
from services.gateway.middleware import StillwatchMiddleware
from services.gateway.publishing.counts import DECISIONS
from tests.integration.enforcing import account_alert, answering, running, write_policy
from tests.topics import make_topics
from tests.unit.gateway.doubles import ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.adapters.embedded import EmbeddedKafka

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]
SEED = "5a" * 32
KEY = "k" * 40
ALERTS_MEASURED = int(os.environ.get("STILLWATCH_LATENCY_ALERTS", "20"))


@pytest.fixture
def stack(kafka: EmbeddedKafka, database_url: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Topics, and the issuer and the relay on them; gives the environment."""
    make_topics(kafka.bootstrap_servers, {topic.name: topic.config() for topic in TOPICS})
    environment = os.environ | {
        "STILLWATCH_BASE_DIR": str(tmp_path),
        "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "STILLWATCH_DATABASE_URL": database_url,
        "STILLWATCH_DECISION_SIGNING_KEY": SEED,
        "STILLWATCH_DETECTION_CONFIG": str(write_policy(tmp_path)),
        "STILLWATCH_LOG_FORMAT": "json",
        "STILLWATCH_METRICS_PORT": "0",
    }
    with running(("services.decisions", "services.alert_sink.relay"), environment):
        yield environment


def test_an_alert_is_enforced_within_moments_and_a_forged_record_never(
    stack: dict[str, str], kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    configuration = GatewayConfiguration(
        base_dir=tmp_path,
        hmac_key=Secret(KEY),
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        gateway_enforcer="services.gateway.enforcement:make_enforcer",
        decision_public_keys=Signer(bytes.fromhex(SEED)).public.hex(),
    )
    middleware = StillwatchMiddleware(answering, configuration)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 0})
    seconds = asyncio.run(_measure(middleware, producer))
    # What stands on the topic once more, and what another key has signed.
    cache: Any = middleware._enforcer
    before = len(cache._cache)
    _attack(producer, kafka)
    counts = middleware.publisher.counts
    deadline = time.monotonic() + 60
    while not (counts.get(DECISIONS, "forged") and counts.get(DECISIONS, "unknown_key")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(cache._cache) == before
    cache.stop()
    middleware.publisher.stop()
    p50, p99 = statistics.median(seconds), sorted(seconds)[-1 - len(seconds) // 100]
    sys.stderr.write(
        f"\nalert in Kafka to first refused request, {len(seconds)} alerts: "
        f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms\n"
    )


async def _measure(middleware: StillwatchMiddleware, producer: Producer) -> list[float]:
    seconds: list[float] = []
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()

    async def status(key: str) -> int:
        sent = await ask(middleware, body, headers=((b"authorization", f"Bearer {key}".encode()),))
        return int(sent[0]["status"])

    assert await status("sk-warm") == 200
    for number in range(ALERTS_MEASURED + 1):
        key = f"sk-latency-{number}"
        account = middleware._identity.account(key)
        alert = account_alert(100 + number, account)
        assert await status(key) == 200
        producer.produce("alerts", encode_alert(alert), alert.alert_id.encode())
        assert producer.flush(30) == 0
        began = time.perf_counter()
        while await status(key) != 403:
            assert time.perf_counter() - began < 120
            await asyncio.sleep(0.002)
        # The first one waits for the processes to start.
        if number:
            seconds.append(time.perf_counter() - began)
    return seconds


def _attack(producer: Producer, kafka: EmbeddedKafka) -> None:
    from tests.unit.test_signatures import decision

    real = Signer(bytes.fromhex(SEED)).sign(decision(action="block", sequence=10**6), "default")
    changed = json.loads(real) | {"action": "allow", "subject_kind": "tenant", "subject": "tenant"}
    producer.produce("decisions", json.dumps(changed).encode(), b"tenant:tenant")
    stranger = Signer(bytes(32)).sign(decision(subject_kind="tenant", subject="tenant", action="allow"), "default")
    producer.produce("decisions", stranger, b"tenant:tenant")
    producer.produce("decisions", None, b"account:x")
    assert producer.flush(30) == 0
