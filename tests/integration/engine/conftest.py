"""The engine's trials: topics and workers of a counting job, an independent oracle, readers of what is committed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.topics import make_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKER = Path(__file__).with_name("counting_worker.py")
ROOT = Path(__file__).parents[3]
PARTITIONS = 4
PANE_MS = 1_000
LATE_MS = 200


class Record(NamedTuple):
    """What a reader sees."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


class Trial:
    """One job's topics on a broker, its workers as processes, and what came of it."""

    def __init__(self, servers: str, prefix: str, logs: Path) -> None:
        self.servers = servers
        self.prefix = prefix
        self.logs = logs
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self.exits: list[int] = []
        self.spawned = 0
        settings = {"message.timestamp.type": "LogAppendTime"}
        own = (f"{prefix}-{name}" for name in ("in", "out", "attributes", "state"))
        make_topics(servers, dict.fromkeys(own, settings), PARTITIONS)
        make_topics(servers, {"dead-letters": settings})  # Is there from the trial before.
        self.producer = Producer(
            {
                "bootstrap.servers": servers,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 2,
                "reconnect.backoff.max.ms": 500,
            }
        )

    def send(self, key: bytes | None, value: bytes, *, topic: str = "in", partition: int = -1) -> None:
        self.producer.produce(f"{self.prefix}-{topic}", value, key, partition)
        self.producer.poll(0)

    def delete(self, topic: str) -> None:
        name = f"{self.prefix}-{topic}"
        admin = AdminClient({"bootstrap.servers": self.servers})
        admin.delete_topics([name])[name].result()

    def spawn(self, index: int = 0, **environment: str) -> subprocess.Popen[bytes]:
        self.spawned += 1
        with (self.logs / f"worker-{index}-{self.spawned}.log").open("wb") as log:
            self.workers[index] = subprocess.Popen(
                [sys.executable, str(WORKER), self.prefix, str(index), self.servers],
                stderr=log,
                stdout=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            )
        return self.workers[index]

    def supervise(self, **environment: str) -> None:
        """Start every worker that has ended again."""
        for index, worker in list(self.workers.items()):
            code = worker.poll()
            if code is not None:
                self.exits.append(code)
                self.spawn(index, **environment)

    def log_of(self, index: int) -> str:
        """Give what the newest worker of this index wrote."""
        paths = sorted(self.logs.glob(f"worker-{index}-*.log"), key=lambda path: int(path.stem.rpartition("-")[2]))
        return paths[-1].read_text()

    def log_text(self) -> str:
        return "".join(path.read_text() for path in sorted(self.logs.glob("*.log")))

    def read(self, topic: str, *, committed: bool = True) -> list[Record]:
        """Read a topic to its end, partition by partition in offset order."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "trial",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed" if committed else "read_uncommitted",
            }
        )
        count = len(consumer.list_topics(topic, 10).topics[topic].partitions)
        ends = self._ends(topic, count)
        consumer.assign([TopicPartition(topic, number, 0) for number in range(count)])
        records: list[Record] = []
        left = {number for number, end in ends.items() if end}
        while left:
            for message in consumer.consume(5_000, 0.1):
                error, partition, offset = message.error(), message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                if error is None:
                    records.append(Record(partition, offset, message.key(), message.value(), message.timestamp()[1]))
                elif error.code() == KafkaError._PARTITION_EOF:
                    # An open transaction ends the log early for committed readers: wait for its outcome.
                    if offset >= ends[partition]:
                        left.discard(partition)
                else:
                    raise AssertionError(error)
        consumer.close()
        return sorted(records)

    def _ends(self, topic: str, count: int) -> dict[int, int]:
        consumer = Consumer(
            {"bootstrap.servers": self.servers, "group.id": "trial", "isolation.level": "read_uncommitted"}
        )
        try:
            return {
                number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
                for number in range(count)
            }
        finally:
            consumer.close()

    def finish(self, seconds: float = 60.0, **environment: str) -> None:
        """Wait until every record is in the state, then drain the workers; one that ends starts again likewise."""
        assert self.producer.flush(30) == 0
        deadline = time.monotonic() + seconds
        while not self.caught_up():
            assert time.monotonic() < deadline, self.log_text()[-4000:]
            self.supervise(**environment)
            time.sleep(0.2)
        self.stop()

    def caught_up(self) -> bool:
        try:
            committed, ends = self._committed(), self._ends(f"{self.prefix}-in", PARTITIONS)
        except KafkaException:
            return False  # The broker may be away, or about to decide a transaction.
        return all(end in {committed[number], 0} for number, end in ends.items())

    def _committed(self) -> dict[int, int]:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": f"stillwatch-{self.prefix}"})
        places = [TopicPartition(f"{self.prefix}-in", number) for number in range(PARTITIONS)]
        try:
            return {place.partition: place.offset for place in consumer.committed(places, timeout=10)}
        finally:
            consumer.close()

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.terminate()
        for worker in self.workers.values():
            try:
                assert worker.wait(30) == 0, self.log_text()[-4000:]
            except subprocess.TimeoutExpired:
                worker.kill()
                raise
        self.workers.clear()

    def kill_all(self) -> None:
        for worker in self.workers.values():
            worker.kill()
            worker.wait()

    def expected(self) -> tuple[list[list[Any]], dict[tuple[int, str], list[int]]]:
        """Say by hand, from the source log alone, which outputs and totals there must be; needs attributes first."""
        weights = {
            record.key: json.loads(record.value or b"")["weight"] for record in self.read(f"{self.prefix}-attributes")
        }
        outputs: list[list[Any]] = []
        totals: dict[tuple[int, str], list[int]] = {}
        read = self._committed()
        for number in range(PARTITIONS):
            high, closed = -1, -1
            panes: Counter[tuple[int, str]] = Counter()
            for record in self.read(f"{self.prefix}-in"):
                if record.partition != number:
                    continue
                if record.offset >= read[number]:
                    # A worker may tell a silent partition's time as it is told to stop: nobody has read that yet.
                    assert record.key is None, f"{number}:{record.offset} was not read"
                    continue
                try:
                    body = json.loads(record.value or b"")
                except ValueError:
                    continue
                if record.key is not None:
                    key = record.key.decode()
                    total = totals.setdefault((number, key), [0, 0, 0])
                    total[0] += 1
                    total[1] += body["x"] * weights.get(record.key, 1)
                    pane = body["t"] // PANE_MS
                    total[2] += pane <= closed
                    panes[pane, key] += pane > closed
                high = max(high, body["t"])
                reached = max(closed, (high - LATE_MS) // PANE_MS - 1)
                if reached > closed:
                    for pane, key in sorted(place for place in panes if place[0] <= reached):
                        count = panes.pop((pane, key))
                        if count:
                            outputs.append([number, key, pane, count, *totals[number, key]])
                    closed = reached
        return outputs, totals

    def verdict(self) -> dict[str, int]:
        """Compare what committed readers see with the oracle."""
        outputs, totals = self.expected()
        want = Counter(json.dumps(output) for output in outputs)
        seen = Counter((record.value or b"").decode() for record in self.read(f"{self.prefix}-out"))
        rows: dict[tuple[int, str], list[int]] = {}
        for record in self.read(f"{self.prefix}-state"):
            if record.key and record.key[:1] != b"\0":
                row = json.loads(record.value or b"")
                rows[record.partition, record.key.decode()] = [row["n"], row["sum"], row["late"]]
        attributes_only = {place for place, row in rows.items() if row[0] == 0}
        wrong = {
            place for place in totals.keys() | (rows.keys() - attributes_only) if totals.get(place) != rows.get(place)
        }
        return {
            "outputs": len(outputs),
            "lost": sum((want - seen).values()),
            "extra": sum((seen - want).values()),
            "duplicates": sum(count - 1 for count in seen.values()),
            "wrong_rows": len(wrong),
        }

    def letters(self) -> list[dict[str, Any]]:
        letters = [msgspec.json.decode(record.value or b"") for record in self.read("dead-letters")]
        return [letter for letter in letters if letter["topic"] == f"{self.prefix}-in"]


@pytest.fixture
def make_trial(kafka: Any, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Trial]]:
    made: list[Trial] = []

    def make(name: str, servers: str = "") -> Trial:
        logs = tmp_path / name
        logs.mkdir()
        number = hashlib.blake2b(f"{request.node.nodeid} {name} {tmp_path}".encode(), digest_size=4).hexdigest()
        made.append(Trial(servers or kafka.bootstrap_servers, f"trial-{number}", logs))
        return made[-1]

    yield make
    for trial in made:
        trial.kill_all()
