"""Spans as a collector gets them: from the request to Kafka, and from the alert by the decision to the gateway.

The sink, the issuer and the relay run as their commands start them, on a real broker and a real database; the receiver
takes OTLP over HTTP and knows nothing of the product.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from confluent_kafka import Consumer, Producer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.alert import encode_alert
from schemas.topics import ALERTS, REQUESTS, TOPICS
from services.adapters.signatures import Signer
from services.gateway.configuration import GatewayConfiguration, Secret
from services.gateway.middleware import StillwatchMiddleware
from services.telemetry.spans import TRACEPARENT, traceparent_of
from tests.integration.enforcing import account_alert, answering, running, write_policy
from tests.topics import make_topics
from tests.unit.gateway.doubles import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.adapters.embedded import EmbeddedKafka

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
PATIENCE = 240.0  # Seconds; a machine that is busy is no failure.
SEED = "5b" * 32
PROCESSES = ("services.alert_sink", "services.decisions", "services.alert_sink.relay")
NEVER_EXPORTED = "words that nobody exports"


class Collector:
    """Takes spans at ``/v1/traces``; gives them by name, with the service that made them."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/traces":
                    collector.bodies.append(body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def spans(self) -> list[tuple[str, Any]]:
        found = []
        for body in list(self.bodies):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                named = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    found += [(named["service.name"], span) for span in scope.spans]
        return found

    def wait(self, name: str, accept: Callable[[Any], bool]) -> tuple[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for service, span in self.spans():
                if span.name == name and accept(span):
                    return service, span
            time.sleep(0.1)
        raise AssertionError(f"no {name} among {sorted({span.name for _, span in self.spans()})}")


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def attribute(span: Any, name: str) -> Any:
    (value,) = (each.value for each in span.attributes if each.key == name)
    return value.string_value


def carried_by(servers: str, trace: str) -> str:
    """Give the traceparent of the request event that belongs to a trace."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([REQUESTS.name])
    deadline = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            for message in consumer.consume(500, 0.5):
                found = traceparent_of(message.headers()) if message.error() is None else ""
                if trace in found:
                    return found
    finally:
        consumer.close()
    raise AssertionError("no request event carries the trace")


def test_a_collector_sees_one_trace_from_the_alert_to_the_gateway(
    kafka: EmbeddedKafka, database_url: str, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_topics(kafka.bootstrap_servers, {topic.name: topic.config() for topic in TOPICS})
    for name, value in {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "STILLWATCH_BASE_DIR": str(tmp_path),
        "STILLWATCH_TENANT": "traced",
        "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "STILLWATCH_DATABASE_URL": database_url,
        "STILLWATCH_DECISION_SIGNING_KEY": SEED,
        "STILLWATCH_DETECTION_CONFIG": str(write_policy(tmp_path)),
        "STILLWATCH_METRICS_PORT": "0",
    }.items():
        monkeypatch.setenv(name, value)
    configuration = GatewayConfiguration(
        base_dir=tmp_path,
        tenant="traced",
        hmac_key=Secret("k" * 40),
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        gateway_enforcer="services.gateway.enforcement:make_enforcer",
        gateway_publisher="process",
        decision_public_keys=Signer(bytes.fromhex(SEED)).public.hex(),
    )
    asked, raised = secrets.token_hex(16), secrets.token_hex(16)
    middleware = StillwatchMiddleware(answering, configuration)
    try:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": NEVER_EXPORTED}]}).encode()
        headers = ((b"authorization", b"Bearer sk-traced"), (b"traceparent", f"00-{asked}-{'1' * 16}-01".encode()))
        asyncio.run(ask(middleware, body, headers=headers))
        service, published = collector.wait("publish request", lambda span: span.trace_id.hex() == asked)
        assert service == "stillwatch-gateway"
        assert published.parent_span_id.hex() == "1" * 16
        assert carried_by(kafka.bootstrap_servers, asked) == f"00-{asked}-{published.span_id.hex()}-01"

        follower: Any = middleware._enforcer
        deadline = time.monotonic() + PATIENCE
        while not follower._follower.loaded:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with running(PROCESSES, os.environ):
            account = secrets.token_hex(8)
            made = account_alert(7, account)
            member = msgspec.structs.replace(made.members[0], strength=0.95)
            alert = msgspec.structs.replace(made, alert_id=secrets.token_hex(8), members=[member])
            producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 0})
            carried: Any = [(TRACEPARENT, f"00-{raised}-{'2' * 16}-01".encode())]
            producer.produce(ALERTS.name, encode_alert(alert), alert.alert_id, headers=carried)
            assert producer.flush(30) == 0
            of_it = lambda span: span.trace_id.hex() == raised  # noqa: E731 - a question in one line
            service, stored = collector.wait("store alert", of_it)
            assert (service, attribute(stored, "stillwatch.alert")) == ("stillwatch-alert-sink", alert.alert_id)
            assert stored.parent_span_id.hex() == "2" * 16
            service, issued = collector.wait("issue decision", of_it)
            assert (service, issued.parent_span_id.hex()) == ("stillwatch-decisions", "2" * 16)
            service, applied = collector.wait("apply decision", of_it)
            assert (service, applied.parent_span_id) == ("stillwatch-gateway", issued.span_id)
            assert attribute(applied, "stillwatch.outcome") == "applied"
    finally:
        if middleware._enforcer is not None:
            middleware._enforcer.stop()
        middleware.publisher.stop()
    exported = b"".join(collector.bodies)
    for word in (NEVER_EXPORTED, "sk-traced", account, member.customer):
        assert word.encode() not in exported
