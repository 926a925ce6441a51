"""When the committed offsets of jobs move, and so for how long a partition stood still."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping


class Advances:
    """Asks twenty times a second when each partition's committed offset moves, for each job and its leading topic."""

    def __init__(self, servers: str, jobs: Mapping[str, str], partitions: int) -> None:
        self._groups = [
            (
                job,
                Consumer({"bootstrap.servers": servers, "group.id": f"stillwatch-{job}", "log_level": 0}),
                [TopicPartition(topic, number) for number in range(partitions)],
            )
            for job, topic in jobs.items()
        ]
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="advances", daemon=True)
        self.moments: dict[tuple[str, int], list[float]] = {
            (job, place.partition): [] for job, _, places in self._groups for place in places
        }

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._halt.set()
        self._thread.join()
        for _, consumer, _ in self._groups:
            consumer.close()

    def _watch(self) -> None:
        newest: dict[tuple[str, int], int] = {}
        while not self._halt.wait(0.05):
            for job, consumer, places in self._groups:
                try:
                    committed = consumer.committed(places, timeout=5)
                except KafkaException:
                    continue
                now = time.monotonic()
                for place in committed:
                    key = job, place.partition
                    if place.offset > newest.get(key, -1):
                        newest[key] = place.offset
                        self.moments[key].append(now)

    def longest(self, start: float, stop: float, job: str | None = None) -> float:
        """Give the longest time between two advances of one partition that overlaps these moments."""
        longest = 0.0
        for (of, _), moments in self.moments.items():
            if job is not None and of != job:
                continue
            edges = [*(at for at in moments if at < stop), stop]
            gaps = [(later - at, at, later) for at, later in itertools.pairwise(edges)]
            longest = max([longest, *(gap for gap, at, later in gaps if later > start and at < stop)])
        return longest
