"""The accounts and pools jobs on a real broker, killed under load: findings and rows as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from detection.accounts.step import AccountsStep
from detection.config import AccountLane, Clocking, DetectionConfig, PoolLane
from detection.detectors.calibration import build
from detection.detectors.reference import References
from detection.features.catalogue import ACCOUNT_FEATURES
from detection.outcomes import Finding, SourceClosed
from detection.pools.routing import split_rows
from detection.pools.step import PoolsStep
from schemas.columns import decode_attributes, decode_events, decode_heartbeat
from schemas.finding import decode_finding, encode_finding
from schemas.topics import (
    ACCOUNT_ATTRIBUTES,
    ACCOUNT_WINDOWS,
    ACCOUNTS_STATE,
    DEAD_LETTERS,
    FINDINGS,
    POOL_CONTRIBUTIONS,
    POOLS_STATE,
    REQUESTS,
    TOPICS,
)
from services.adapters.clock import SystemClock
from services.adapters.embedded import EmbeddedKafka
from services.adapters.kafka.client import producer_config
from services.adapters.kafka.topics import ClusterTopics
from services.gateway.accounts import to_attributes
from services.gateway.formats import openai
from services.gateway.identity import load_identity
from services.gateway.sketching import EventMaker
from services.settings import Settings
from services.simulator.corpus import Corpus
from services.simulator.population import DAY_MS
from services.simulator.scenarios import make_population
from services.simulator.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration]
ROOT = Path(__file__).parents[3]
PARTITIONS = 4
META = b"\x00engine.meta"
# Thresholds under every score: what is scored is found, so that a wrong sum anywhere shows in a finding.
CONFIG = DetectionConfig(
    clocking=Clocking(idle_ms=1_500),
    accounts=AccountLane(threshold=-1e6),
    pools=PoolLane(threshold=-1e6, minimum_requests=20),
)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A broker of this module's own: it is killed too, and the topics have the product's names."""
    with EmbeddedKafka(tmp_path_factory.mktemp("jobs")) as server:
        config = {"bootstrap.servers": server.bootstrap_servers}
        ClusterTopics(config, TOPICS, PARTITIONS, 1).apply()
        yield server


class Jobs:
    """Worker processes of both jobs."""

    def __init__(self, broker: EmbeddedKafka, references: References, folder: Path) -> None:
        (folder / "config.json").write_bytes(msgspec.json.encode(CONFIG))
        (folder / "references.json").write_bytes(references.to_json())
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "STILLWATCH_BASE_DIR": str(folder),
            "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "STILLWATCH_DETECTION_CONFIG": str(folder / "config.json"),
            "STILLWATCH_REFERENCES": str(folder / "references.json"),
            "STILLWATCH_CHECKPOINT_SECONDS": "0.3",
            "STILLWATCH_SESSION_TIMEOUT_MS": "6000",
            "STILLWATCH_LOG_LEVEL": "debug",
        }
        self._folder = folder
        self._spawned = 0
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        self._spawned += 1
        with (self._folder / f"{name}-{self._spawned}.log").open("wb") as log:
            self.workers[name] = subprocess.Popen(
                [sys.executable, "-m", f"stream_jobs.{name}"], env=self._environment, stderr=log, cwd=ROOT
            )

    def mend(self) -> None:
        for name, worker in list(self.workers.items()):
            if worker.poll() is not None:
                self.start(name)

    def drain(self, name: str) -> None:
        worker = self.workers.pop(name)
        worker.terminate()
        assert worker.wait(60) == 0, self.logs()[-3000:]

    def kill_all(self) -> None:
        for worker in self.workers.values():
            worker.kill()
            worker.wait()

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.log")))


def _traffic() -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """Give attributes and requests of one simulated day, as keys and values."""
    start = SystemClock().now_ms() - DAY_MS - 3_600_000
    population = make_population("tiny", 1, start)
    identity = load_identity(Settings(hmac_key="k" * 32))  # type: ignore[arg-type]  # pydantic makes the secret
    maker = EventMaker(identity)
    attributes = [to_attributes(account.attributes(), identity) for account in population.accounts]
    events = [maker.to_event(openai.parse(record)) for record in Traffic(population, Corpus(None), 1).days(1)]
    return (
        [(item.account.encode(), msgspec.json.encode(item)) for item in attributes],
        [(event.account.encode(), msgspec.json.encode(event)) for event in events],
    )


def _references(values: list[bytes]) -> References:
    """Make account references of noise, and pool references of the traffic's own pools."""
    names = [feature.name for feature in ACCOUNT_FEATURES]
    noise = np.random.default_rng(2).random((200, len(names))) * 10
    account = build(names, [feature.direction for feature in ACCOUNT_FEATURES], noise)
    from detection.pools.scoring import SCORED_DIRECTIONS, SCORED_NAMES, strata

    steps = AccountsStep(CONFIG, None, 0), PoolsStep(CONFIG, None, 0, 1)
    columns = decode_events(values).columns
    steps[0].apply(columns, np.arange(len(columns)))
    outcome = steps[0].take()
    steps[1].add(0, outcome.contributions, outcome.closed_hop, 0)
    by_stratum = defaultdict(list)
    for vector in steps[1].take().vectors:
        for name in strata(vector.group, vector.band):
            by_stratum[name].append(vector.values)
    pools = {name: build(SCORED_NAMES, SCORED_DIRECTIONS, np.array(rows)) for name, rows in by_stratum.items()}
    return References(version="test", accounts=dict.fromkeys(AccountLane().milestones, account), pools=pools)


class Record(NamedTuple):
    """What a committed reader sees."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes


def _read(broker: EmbeddedKafka, topic: str) -> list[Record]:
    """Read committed records, by partition and offset; a deleted row's value is empty."""
    config = {"bootstrap.servers": broker.bootstrap_servers, "group.id": "reader", "enable.partition.eof": True}
    consumer = Consumer(config | {"isolation.level": "read_committed", "auto.offset.reset": "earliest"})
    left = set(consumer.list_topics(topic, 10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, number, 0) for number in left])
    records: list[Record] = []
    while left:
        for message in consumer.consume(5_000, 0.1):
            error, partition, offset = message.error(), message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            if error is None:
                records.append(Record(partition, offset, message.key(), message.value() or b""))
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                left.discard(partition)
    consumer.close()
    return sorted(records, key=lambda record: record[:2])


def _done(broker: EmbeddedKafka, group: str, topic: str, last: dict[int, int]) -> bool:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": group})
    try:
        committed = consumer.committed([TopicPartition(topic, number) for number in last], timeout=10)
    except KafkaException:
        return False
    finally:
        consumer.close()
    return all(place.offset > last[place.partition] for place in committed)


def _last(records: list[Record]) -> dict[int, int]:
    return {record.partition: record.offset for record in records}


class Oracle:
    """Both steps over the log, each partition in one piece."""

    def __init__(self, broker: EmbeddedKafka, references: References) -> None:
        self.pools = [PoolsStep(CONFIG, references, number, PARTITIONS) for number in range(PARTITIONS)]
        self.accounts = [AccountsStep(CONFIG, references, number) for number in range(PARTITIONS)]
        self.findings: list[Finding] = []
        self.windows = 0
        attributes, requests = _read(broker, ACCOUNT_ATTRIBUTES.name), _read(broker, REQUESTS.name)
        for number, step in enumerate(self.accounts):
            rows, kept, _ = decode_attributes([r.value for r in attributes if r.partition == number])
            step.apply_attributes(rows, kept)
            for record in requests:
                if record.partition != number:
                    continue
                heartbeat = decode_heartbeat(record.value) if record.key is None else None
                if heartbeat is not None:
                    step.advance(heartbeat.time_unix_ms, record.offset)
                else:
                    step.apply(decode_events([record.value]).columns, np.array([record.offset]))
            outcome = step.take()
            self.findings += outcome.findings
            self.windows += len(outcome.windows)
            for pool, part in zip(self.pools, split_rows(outcome.contributions, PARTITIONS), strict=True):
                pool.add(number, part, outcome.closed_hop, number)
        for pool in self.pools:
            self.findings += pool.take().findings

    def rows(self, steps: list[Any]) -> dict[tuple[int, bytes], bytes]:
        found: dict[tuple[int, bytes], bytes] = {}
        for number, step in enumerate(steps):
            keys, values = step.dirty()
            found |= {(number, key): value for key, value in zip(keys, values, strict=True) if value is not None}
        return found


def _stored(broker: EmbeddedKafka, topic: str) -> dict[tuple[int, bytes], bytes]:
    newest = {(record.partition, record.key or b""): record.value for record in _read(broker, topic)}
    return {place: value for place, value in newest.items() if place[1] != META and value}


def _disturb(jobs: Jobs, broker: EmbeddedKafka, send: Any, chunks: int) -> None:
    dice = random.Random(5)  # noqa: S311 - a trial must be repeatable
    for place in range(chunks):
        send(place)
        time.sleep(dice.uniform(0.1, 0.5))
        if place == chunks // 2:
            broker.kill()
            time.sleep(3)
            broker.start()
        elif place % 4 == 2:
            victim = jobs.workers[dice.choice(["accounts", "pools"])]
            victim.send_signal(signal.SIGKILL)
            victim.wait()
        jobs.mend()


def test_killed_jobs_find_what_undisturbed_ones_find(broker: EmbeddedKafka, tmp_path: Path) -> None:
    attributes, requests = _traffic()
    references = _references([value for _, value in requests])
    producer = Producer(producer_config(Settings(), broker.bootstrap_servers) | {"log_level": 2})
    for key, value in attributes:
        producer.produce(ACCOUNT_ATTRIBUTES.name, value, key)
    assert producer.flush(30) == 0
    jobs = Jobs(broker, references, tmp_path)
    try:
        jobs.start("accounts")
        jobs.start("pools")
        chunks = np.array_split(np.arange(len(requests)), 12)

        def send(place: int) -> None:
            for index in chunks[place].tolist():
                producer.produce(REQUESTS.name, requests[index][1], requests[index][0])
            producer.poll(0)

        _disturb(jobs, broker, send, len(chunks))
        assert producer.flush(60) == 0
        deadline = time.monotonic() + 120
        group, last = "stillwatch-accounts", _last(_read(broker, REQUESTS.name))
        while not _done(broker, group, REQUESTS.name, last):
            assert time.monotonic() < deadline, jobs.logs()[-3000:]
            jobs.mend()
            time.sleep(0.5)
        time.sleep(3)  # Heartbeats come.
        jobs.drain("accounts")
        last = _last(_read(broker, POOL_CONTRIBUTIONS.name))
        while not _done(broker, "stillwatch-pools", POOL_CONTRIBUTIONS.name, last):
            assert time.monotonic() < deadline, jobs.logs()[-3000:]
            jobs.mend()
            time.sleep(0.5)
        jobs.drain("pools")
    finally:
        jobs.kill_all()
    _compare(broker, references)


def _compare(broker: EmbeddedKafka, references: References) -> None:
    oracle = Oracle(broker, references)
    records = [(record, decode_finding(record.value)) for record in _read(broker, FINDINGS.name)]
    seen = Counter(record.value for record, found in records if isinstance(found, Finding))
    want = Counter(encode_finding(finding) for finding in oracle.findings)
    assert {finding.lane for finding in oracle.findings} == {"account", "pool"}
    assert seen == want
    assert max(seen.values()) == 1
    closed: dict[tuple[str, int], int] = {}
    for _, found in records:
        if isinstance(found, SourceClosed):
            assert found.hop > closed.get((found.job, found.partition), -1)
            closed[found.job, found.partition] = found.hop
    assert len(closed) == 2 * PARTITIONS
    assert {closed["pools", number] for number in range(PARTITIONS)} == {
        min(closed["accounts", number] for number in range(PARTITIONS))
    }
    windows = [json.loads(record.value) for record in _read(broker, ACCOUNT_WINDOWS.name)]
    assert len(windows) == len({(window["account"], window["hop"]) for window in windows}) == oracle.windows
    assert _read(broker, DEAD_LETTERS.name) == []
    assert _stored(broker, ACCOUNTS_STATE.name) == oracle.rows(oracle.accounts)
    assert _stored(broker, POOLS_STATE.name) == oracle.rows(oracle.pools)
