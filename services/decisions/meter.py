"""The meter: account windows to the use of entitlements, beside the issuer in its process, on a consumer of its own.

Offsets live in the database, in the transaction of the sums, so a window is counted once whatever is delivered again.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from sqlalchemy.orm import Session

from schemas.account_window import AccountWindow
from schemas.topics import ACCOUNT_WINDOWS
from services.adapters.kafka.batches import good_records
from services.adapters.postgres import metering
from services.adapters.postgres.moments import EPOCH
from services.adapters.retry import Backoff, Stopped, keep_trying
from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from datetime import datetime

    from confluent_kafka import Consumer, Message
    from sqlalchemy import Engine

    from services.adapters.clock import Clock

_BATCH: Final = 2000
_POLL_SECONDS: Final = 2.0
_METADATA_SECONDS: Final = 10.0
_window: Final = msgspec.json.Decoder(AccountWindow)


class Meter:
    """Counts until ``stop`` is set. One per tenant: it takes every partition, without a group."""

    def __init__(
        self, consumer: Consumer, engine: Engine, clock: Clock, tenant: str, config_version: str, stop: threading.Event
    ) -> None:
        self._consumer = consumer
        self._engine = engine
        self._clock = clock
        self._tenant = tenant
        self._config_version = config_version
        self._stop = stop

    def run(self) -> None:
        """Work until told to stop."""
        try:
            keep_trying(self._assign, self._stop, Backoff(), "meter")
            while not self._stop.is_set():
                messages = self._consumer.consume(_BATCH, _POLL_SECONDS)
                good = good_records(messages)
                told = keep_trying(partial(self._count, good), self._stop, Backoff(), "meter")
                if told:
                    get_logger().info("entitlements.told", notices=told)
        except Stopped:
            get_logger().info("decisions.stopped_while_waiting")
        finally:
            self._consumer.close()

    def _assign(self) -> None:
        with Session(self._engine) as session:
            known = metering.next_offsets(session, self._tenant)
        found = self._consumer.list_topics(ACCOUNT_WINDOWS.name, timeout=_METADATA_SECONDS)
        partitions = found.topics[ACCOUNT_WINDOWS.name].partitions
        places: list[Any] = [
            TopicPartition(ACCOUNT_WINDOWS.name, place, known.get(place, OFFSET_BEGINNING)) for place in partitions
        ]
        self._consumer.assign(places)

    def _count(self, messages: Sequence[Message]) -> int:
        windows: list[AccountWindow] = []
        offsets: dict[int, int] = {}
        for message in messages:
            offsets[int(message.partition() or 0)] = int(message.offset() or 0) + 1
            try:
                windows.append(_window.decode(message.value() or b""))
            except msgspec.DecodeError:
                get_logger().warning("decisions.skipped", topic=message.topic(), offset=message.offset())
        now = self._now()
        with Session(self._engine) as session, session.begin():
            metering.count(session, self._tenant, windows, offsets, now)
            return metering.tell(session, self._tenant, now, self._config_version)

    def _now(self) -> datetime:
        return EPOCH + timedelta(milliseconds=self._clock.now_ms())
