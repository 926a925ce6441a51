"""The shelf: versions in shadow from the topic ``models`` into the database, beside the sink in its process.

The topic is compacted and small, so each start reads it from its beginning, on a consumer of its own without a group.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from schemas.model_version import ModelVersion
from schemas.topics import MODELS
from services.adapters.kafka.batches import good_records, next_batch
from services.adapters.postgres.models import require_usable, store_shadows
from services.adapters.postgres.moments import EPOCH
from services.adapters.retry import Backoff, Stopped, keep_trying
from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from confluent_kafka import Consumer, Message
    from sqlalchemy import Engine

    from services.adapters.clock import Clock

_BATCH: Final = 500
_POLL_SECONDS: Final = 0.5
_version: Final = msgspec.json.Decoder(ModelVersion)


class Shelf:
    """Keeps the newest shadow of each model until ``stop`` is set."""

    def __init__(self, consumer: Consumer, engine: Engine, clock: Clock, tenant: str, stop: threading.Event) -> None:
        self._consumer = consumer
        self._engine = engine
        self._clock = clock
        self._tenant = tenant
        self._stop = stop

    def run(self) -> None:
        """Work until told to stop."""
        places: list[Any] = [TopicPartition(MODELS.name, 0, OFFSET_BEGINNING)]
        self._consumer.assign(places)
        try:
            while not self._stop.is_set():
                messages = next_batch(self._consumer, _BATCH, _POLL_SECONDS)
                good = good_records(messages)
                if good:
                    keep_trying(partial(self._keep, good), self._stop, Backoff(), "shelf")
        except Stopped:
            get_logger().info("sink.stopped_while_waiting")
        finally:
            self._consumer.close()

    def _keep(self, messages: Sequence[Message]) -> None:
        newest: dict[str, ModelVersion] = {}
        for message in messages:
            if message.value() is None:
                continue
            try:
                version = _version.decode(message.value() or b"")
                require_usable(version)
            except (msgspec.DecodeError, ValueError):
                get_logger().error("model.unreadable", topic=message.topic(), offset=message.offset())
                continue
            # What is live or retired came from the database.
            if version.stage == "shadow":
                newest[version.model] = version
        if newest:
            now = EPOCH + timedelta(milliseconds=self._clock.now_ms())
            with self._engine.begin() as connection:
                store_shadows(connection, self._tenant, list(newest.values()), now)
            for version in newest.values():
                get_logger().info("model.shelved", model=version.model, version=version.version)
