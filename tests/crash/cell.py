"""One trial's world: a broker of its own, the product's topics, and worker processes of both jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from detection.config import AccountLane, Clocking, DetectionConfig, PoolLane
from schemas.topics import POOL_CONTRIBUTIONS, REQUESTS, TOPICS
from services.adapters.embedded import EmbeddedKafka
from services.adapters.kafka.topics import ClusterTopics
from tests.crash.nursery import Nursery

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.crash.faults import Fault
    from tests.crash.nursery import Worker

ROOT = Path(__file__).parents[2]
PARTITIONS: Final = 4
SESSION_SECONDS: Final = 6.0
# Thresholds under every score: what is scored is found, so that a wrong sum anywhere shows in a finding.
CONFIG = DetectionConfig(
    clocking=Clocking(idle_ms=1_500),
    accounts=AccountLane(threshold=-1e6),
    pools=PoolLane(threshold=-1e6, minimum_requests=20),
)
LEADING: Final = {"accounts": REQUESTS.name, "pools": POOL_CONTRIBUTIONS.name}
JOBS: Final = tuple(LEADING)
# A worker that is fenced, expelled, or unsure of a transaction's outcome says so and ends with this.
STOPPED: Final = 3


class Record(NamedTuple):
    """What a committed reader sees; a deleted row's value is empty."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    timestamp: int


class UnexpectedError(AssertionError):
    """Something happened that no trial allows; the logs are in the message."""


class Cell:
    """Workers are named by job and index: ("accounts", 0)."""

    def __init__(self, folder: Path, *, config: DetectionConfig = CONFIG, partitions: int = PARTITIONS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = config
        self.partitions = partitions
        self.broker = EmbeddedKafka(folder / "broker")
        self.workers: dict[tuple[str, int], Worker] = {}
        self.ends: list[tuple[str, int, int]] = []  # Job, index, exit status of every worker that ended by itself.
        self._spawned = 0
        self._nursery: Nursery | None = None
        (folder / "config.json").write_bytes(msgspec.json.encode(config))

    def open(self) -> None:
        """Start the broker, create the topics, and make ready to start workers; from the main thread."""
        self._nursery = Nursery()
        self.broker.start(timeout=300)
        ClusterTopics({"bootstrap.servers": self.broker.bootstrap_servers}, TOPICS, self.partitions, 1).apply()

    def close(self) -> None:
        """End everything, whatever its state: workers die with their nursery."""
        self.workers.clear()
        if self._nursery is not None:
            self._nursery.close()
        self.broker.kill()

    def start(
        self,
        job: str,
        index: int = 0,
        fault: Fault | None = None,
        longest_chunk: int | None = None,
        **environment: str,
    ) -> None:
        """Start a worker; with a fault it is the product's worker with a trap around it.

        With ``longest_chunk`` each of its polls brings a random number of records, at most that many.
        """
        self._spawned += 1
        module = [f"stream_jobs.{job}"]
        if fault is not None:
            module = ["tests.crash.faulty_worker", job, fault.text()]
        elif longest_chunk is not None:
            module = ["tests.crash.faulty_worker", job, f"chunk:{longest_chunk}"]
        if self._nursery is None:
            raise ValueError("the cell is not open")
        log = self.folder / f"{job}-{index}-{self._spawned:04}.log"
        log.touch()
        self.workers[job, index] = self._nursery.start(module, self.environment(index) | environment, log)

    def environment(self, index: int) -> dict[str, str]:
        """Give a process's environment; the settings of whoever runs the trials stay outside."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("STILLWATCH_")},
            "PYTHONPATH": str(ROOT),
            "STILLWATCH_BASE_DIR": str(self.folder),
            "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers,
            "STILLWATCH_DETECTION_CONFIG": str(self.folder / "config.json"),
            "STILLWATCH_CHECKPOINT_SECONDS": "0.3",
            "STILLWATCH_SESSION_TIMEOUT_MS": str(int(SESSION_SECONDS * 1000)),
            "STILLWATCH_WORKER_INDEX": str(index),
            "STILLWATCH_LOG_LEVEL": "debug",
            "STILLWATCH_LOG_FORMAT": "json",
        }

    def log_of(self, job: str, index: int) -> str:
        """Give what the newest worker of this name wrote."""
        newest = max(self.folder.glob(f"{job}-{index}-*.log"), key=lambda path: path.stem[-4:])
        return newest.read_text(encoding="utf-8", errors="replace")

    def state_of(self, job: str, index: int) -> str:
        """Give the kernel's letter for the process: T is stopped; "" where there is none any more."""
        try:
            text = Path(f"/proc/{self.workers[job, index].pid}/stat").read_text(encoding="ascii")
        except OSError:
            return ""
        return text.rpartition(")")[2].split()[0]

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> bool:
        """Wait until it is so; False where it is not within these seconds. Raises nothing."""
        del what  # For the reader of the call.
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def working(self, job: str, index: int = 0) -> bool:
        """Whether the newest worker of this name has made a checkpoint."""
        return '"checkpoint.done"' in self.log_of(job, index)

    def end_of(self, job: str, index: int, seconds: float) -> int | None:
        """Wait for a worker's end and forget it; gives its status, None where it lives on."""
        worker = self.workers[job, index]
        if not self.wait(lambda: worker.poll() is not None, seconds, "the worker ends"):
            return None
        del self.workers[job, index]
        self.ends.append((job, index, worker.returncode))
        return worker.returncode

    def mend(self) -> None:
        """Start every worker that has ended again, as the supervisor does; only known ends are allowed."""
        for (job, index), worker in list(self.workers.items()):
            if worker.poll() is not None:
                self.ends.append((job, index, worker.returncode))
                if worker.returncode != STOPPED:
                    raise UnexpectedError(
                        f"{job} {index} ended with {worker.returncode}:\n{self.log_of(job, index)[-3000:]}"
                    )
                self.start(job, index)

    def drain(self, job: str) -> None:
        """Ask the job's workers to end in good order."""
        for name in [name for name in self.workers if name[0] == job]:
            worker = self.workers.pop(name)
            worker.terminate()
            try:
                status = worker.wait(90)
            except subprocess.TimeoutExpired:
                worker.kill()
                raise UnexpectedError(f"{name} does not end:\n{self.log_of(*name)[-3000:]}") from None
            if status not in {0, -signal.SIGTERM}:  # The latter while it still loads its modules.
                raise UnexpectedError(f"{name} ended with {status}:\n{self.log_of(*name)[-3000:]}")

    def settle(self, seconds: float = 240.0) -> None:
        """Let both jobs read everything, heartbeats after it too, and end in good order."""
        self.settle_accounts(seconds)
        self._catch_up("pools", seconds)
        self.drain("pools")

    def settle_accounts(self, seconds: float = 240.0) -> None:
        """The first half of ``settle``."""
        self._catch_up("accounts", seconds)
        time.sleep(3 * self.config.clocking.idle_ms / 1000)
        self.drain("accounts")

    def _catch_up(self, job: str, seconds: float) -> None:
        topic = LEADING[job]
        last = {record.partition: record.offset for record in self.read(topic)}
        deadline = time.monotonic() + seconds
        while not self._done(f"stillwatch-{job}", topic, last):
            if time.monotonic() > deadline:
                raise UnexpectedError(f"{job} does not read to the end:\n{self.log_of(job, 0)[-3000:]}")
            self.mend()
            time.sleep(0.3)

    def _done(self, group: str, topic: str, last: dict[int, int]) -> bool:
        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap_servers, "group.id": group, "log_level": 0})
        try:
            committed = consumer.committed([TopicPartition(topic, number) for number in last], timeout=10)
        except KafkaException:
            return False
        finally:
            consumer.close()
        return all(place.offset > last[place.partition] for place in committed)

    def read(self, topic: str, *, committed: bool = True) -> list[Record]:
        """Read a topic to its end, by partition and offset. An open transaction is waited for."""
        config: dict[str, Any] = {
            "bootstrap.servers": self.broker.bootstrap_servers,
            "group.id": "reader",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
        consumer = Consumer(config | {"isolation.level": "read_committed" if committed else "read_uncommitted"})
        looker = Consumer(config | {"isolation.level": "read_uncommitted"})
        places = [
            TopicPartition(topic, number, 0) for number in consumer.list_topics(topic, 20).topics[topic].partitions
        ]
        ends = {place.partition: looker.get_watermark_offsets(place, timeout=20)[1] for place in places}
        looker.close()
        consumer.assign(places)
        left = {number for number, end in ends.items() if end}
        records: list[Record] = []
        deadline = time.monotonic() + 120
        while left:
            if time.monotonic() > deadline:
                raise UnexpectedError(f"{topic} cannot be read to its end")
            for message in consumer.consume(5_000, 0.1):
                error, partition, offset = message.error(), message.partition(), message.offset()
                if partition is None or offset is None:
                    continue
                if error is None:
                    stamp = message.timestamp()[1]
                    records.append(Record(partition, offset, message.key(), message.value() or b"", stamp))
                elif error.code() == KafkaError._PARTITION_EOF and offset >= ends[partition]:
                    left.discard(partition)
        consumer.close()
        return sorted(records, key=lambda record: record[:2])
