"""An account's closed hops, read from its partition of the topic when somebody asks; bounded in time and size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from confluent_kafka import OFFSET_INVALID, Consumer, TopicPartition

from schemas.account_window import AccountWindow
from schemas.topics import ACCOUNT_WINDOWS
from services.adapters.kafka.murmur2 import murmur2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.adapters.clock import Clock

MAXIMUM_RECORDS: Final = 100_000
MAXIMUM_SECONDS: Final = 4.0
_BATCH: Final = 2000
_POSITIVE: Final = 0x7FFFFFFF
_decode = msgspec.json.Decoder(AccountWindow).decode


@dataclass(frozen=True, slots=True)
class Found:
    """An account's windows, oldest first, and whether all that is kept was read."""

    windows: Sequence[AccountWindow]
    complete: bool


class WindowHistory:
    """Reads the topic; each call has a consumer of its own, which commits nothing."""

    def __init__(self, config: Mapping[str, str | int | float | bool], clock: Clock) -> None:
        self._config = {
            **config,
            "group.id": "stillwatch-console",
            "enable.auto.commit": False,
            "enable.partition.eof": False,
            "isolation.level": "read_committed",
        }
        self._clock = clock

    def read(self, account: str) -> Found:
        """Read the newest records of the account's partition; raises confluent_kafka.KafkaException."""
        consumer = Consumer(self._config)
        try:
            topic = consumer.list_topics(ACCOUNT_WINDOWS.name, timeout=MAXIMUM_SECONDS).topics[ACCOUNT_WINDOWS.name]
            key = account.encode("ascii")
            partition = (murmur2(key) & _POSITIVE) % max(len(topic.partitions), 1)
            low, high = consumer.get_watermark_offsets(
                TopicPartition(ACCOUNT_WINDOWS.name, partition), timeout=MAXIMUM_SECONDS
            )
            start = max(low, high - MAXIMUM_RECORDS)
            consumer.assign([TopicPartition(ACCOUNT_WINDOWS.name, partition, start)])
            return self._collect(consumer, key, high, complete=start == low)
        finally:
            consumer.close()

    def _collect(self, consumer: Consumer, key: bytes, high: int, *, complete: bool) -> Found:
        deadline = self._clock.monotonic() + MAXIMUM_SECONDS
        windows: dict[int, AccountWindow] = {}
        assigned = consumer.assignment()
        while self._clock.monotonic() < deadline:
            for message in consumer.consume(_BATCH, timeout=0.5):
                value = message.value()
                if message.error() is None and message.key() == key and value is not None:
                    window = _decode(value)
                    windows[window.hop] = window
            at = consumer.position(assigned)[0].offset
            if at != OFFSET_INVALID and at >= high:
                return Found([windows[hop] for hop in sorted(windows)], complete)
        return Found([windows[hop] for hop in sorted(windows)], complete=False)
