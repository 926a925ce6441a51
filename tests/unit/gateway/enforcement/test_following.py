"""Following the decisions: what must not keep a gateway from reading them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException

from services.adapters.clock import SystemClock
from services.adapters.signatures import Signer, Verifier
from services.gateway.enforcement import topic_feed
from services.gateway.enforcement.cache import DecisionCache
from services.gateway.publishing.counts import Counts

if TYPE_CHECKING:
    import pytest

    from services.telemetry.spans import Spans


def test_tracing_that_cannot_start_keeps_no_decisions_away(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    class Away:
        """A consumer whose broker is away."""

        def __init__(self, _config: object) -> None:
            pass

        def list_topics(self, *_: object, **__: object) -> None:
            asked.set()
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

        def close(self) -> None:
            pass

    def broken() -> Spans:
        raise ValueError("OTEL_EXPORTER_OTLP_TIMEOUT is no number")

    monkeypatch.setattr(topic_feed, "Consumer", Away)
    cache = DecisionCache(Verifier([Signer(bytes(32)).public], "default"))
    follower = topic_feed.TopicFollower({}, cache, Counts(), SystemClock(), broken)
    follower.start()
    try:
        assert asked.wait(10)
    finally:
        follower.stop()
