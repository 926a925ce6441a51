"""Traffic and lag as the broker counts them: sampled every five seconds, kept for an hour, lost with the process."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from schemas.topics import TOPICS

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from services.adapters.clock import Clock

EVERY_SECONDS: Final = 5.0
KEPT: Final = 720
TIMEOUT_SECONDS: Final = 5.0
_NAMES: Final = frozenset(topic.name for topic in TOPICS)
_TRAFFIC: Final = "requests"


@dataclass(frozen=True, slots=True)
class Sample:
    """Ends of topics and lag by consumer group at one moment (ms since the epoch)."""

    at_ms: int
    requests: int
    lag: dict[str, int]


class Flow:
    """Samples in a thread of its own once started. Reading never waits for the broker."""

    def __init__(self, admin: AdminClient, clock: Clock) -> None:
        self._admin = admin
        self._clock = clock
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console-flow", daemon=True)

    def start(self) -> Flow:
        """Begin to sample."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End; returns when the thread has."""
        self._stop.set()
        self._thread.join(2 * TIMEOUT_SECONDS)

    def samples(self) -> list[Sample]:
        """Give what was seen, oldest first."""
        return list(self._samples)

    def rates(self) -> list[tuple[int, float]]:
        """Give requests a second between samples: (ms since the epoch, rate)."""
        seen = self.samples()
        return [
            (after.at_ms, max(after.requests - before.requests, 0) * 1000 / (after.at_ms - before.at_ms))
            for before, after in itertools.pairwise(seen)
            if after.at_ms > before.at_ms
        ]

    def _run(self) -> None:
        while not self._stop.is_set():
            # The overview shows the gap; /readyz tells that the broker is away.
            with suppress(KafkaException, TimeoutError):
                self._samples.append(self._sample())
            self._stop.wait(EVERY_SECONDS)

    def _sample(self) -> Sample:
        topics = self._admin.list_topics(timeout=TIMEOUT_SECONDS).topics
        wanted = {
            TopicPartition(name, partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library's own maker
            for name in _NAMES & set(topics)
            for partition in topics[name].partitions
        }
        found = self._admin.list_offsets(wanted, request_timeout=TIMEOUT_SECONDS)
        ends = {(each.topic, each.partition): answer.result().offset for each, answer in found.items()}
        lag: dict[str, int] = {}
        groups = self._admin.list_consumer_groups(request_timeout=TIMEOUT_SECONDS).result().valid
        for group in groups:
            asked = [ConsumerGroupTopicPartitions(group.group_id)]
            answer = self._admin.list_consumer_group_offsets(asked, request_timeout=TIMEOUT_SECONDS)
            offsets = answer[group.group_id].result().topic_partitions
            behind = [
                max(ends[row.topic, row.partition] - row.offset, 0)
                for row in offsets
                if row.offset >= 0 and (row.topic, row.partition) in ends
            ]
            if behind:
                lag[group.group_id] = sum(behind)
        requests = sum(end for (topic, _), end in ends.items() if topic == _TRAFFIC)
        return Sample(self._clock.now_ms(), requests, lag)
