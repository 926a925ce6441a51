"""The processes between Kafka and the database, under traffic that knows what it sent, and a judgement of what is left.

Alerts go to their topic and verdicts to the database, both past whatever disturbs the processes. In the end an
undisturbed sink and issuer of another tenant read the same topic, and every row of the disturbed ones must be theirs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from schemas.alert import encode_alert
from schemas.label import Label
from schemas.topics import ALERTS, ALERTS_OCSF, DECISIONS, LABELS, TOPICS
from services.adapters.clock import utc_now
from services.adapters.embedded import EmbeddedKafka, EmbeddedPostgres
from services.adapters.kafka.topics import ClusterTopics
from services.adapters.postgres.labelling import Wish, label_alert
from services.adapters.postgres.moments import read_moment
from services.adapters.postgres.partitions import ensure_ahead
from services.alert_sink.batch import JOB as SINK
from services.decisions.issuer import JOB as ISSUER
from services.errors import StillwatchError
from services.subscribers.worker import JOB as SUBSCRIBERS
from tests.chaos.plan import ROOT
from tests.chaos.process import Process
from tests.integration.database.samples import NOW, make_alert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TORN: Final = "torn"
CALM: Final = "calm"
PARTITIONS: Final = 2
MODULES: Final = {
    SINK: "services.alert_sink",
    "outbox-relay": "services.alert_sink.relay",
    ISSUER: "services.decisions",
    SUBSCRIBERS: "services.subscribers",
    "console": "services.console",
}
HOT: Final = 8  # Alerts that get one revision after the other.
START_SECONDS: Final = 180.0
SETTLE_SECONDS: Final = 180.0
_NEVER_SECONDS: Final = 60.0


class UnexpectedError(AssertionError):
    """Something happened that no row allows; what was said is in the message."""


@dataclass
class Verdict:
    """What is missing and what is too much, by where; ``compared`` tells of how many."""

    lost: Counter[str] = field(default_factory=Counter)
    doubled: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)

    @property
    def exact(self) -> bool:
        """Whether nothing is lost or doubled, and something was compared everywhere."""
        return not (self.lost.total() or self.doubled.total()) and all(self.compared.values())

    def told(self) -> dict[str, Any]:
        """Give what a report says of it."""
        return {
            "compared": dict(self.compared),
            "lost_in": {name: count for name, count in self.lost.items() if count},
            "duplicated_in": {name: count for name, count in self.doubled.items() if count},
        }

    def hold(self, where: str, found: Counter[Any], wanted: Counter[Any]) -> None:
        """Hold what is there against what there should be."""
        self.compared[where] += wanted.total()
        self.lost[where] += (wanted - found).total()
        self.doubled[where] += (found - wanted).total()


class Back:
    """A broker, a database and the processes between them. ``kafka`` and ``database`` may be put behind something."""

    def __init__(self, folder: Path, dice: Random, *, broker: EmbeddedKafka | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.dice = dice
        self.broker = broker or EmbeddedKafka(folder / "broker")
        self.postgres = EmbeddedPostgres(folder / "postgres")
        self.processes: dict[str, Process] = {}
        self.traffic: Traffic | None = None
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def open(self, *, kafka: str = "", database: str = "", modules: tuple[str, ...] = tuple(MODULES)) -> None:
        """Start everything; the processes go by ``kafka`` and ``database``, the traffic and the judge directly."""
        self.postgres.start(timeout=START_SECONDS)
        self.broker.start(timeout=START_SECONDS)
        ClusterTopics({"bootstrap.servers": self.servers}, TOPICS, PARTITIONS, 1).apply()
        self._migrate()
        for name in modules:
            self.processes[name] = self._process(name, TORN, kafka or self.servers, database or self.postgres.url)
        self._keeper.start()
        self.wait(self.all_ready, START_SECONDS, "every process is ready")
        self.traffic = Traffic(self.servers, self.postgres.url, Random(self.dice.random()))  # noqa: S311 - repeatable

    @property
    def servers(self) -> str:
        """The broker's own address."""
        return self.broker.bootstrap_servers

    def all_ready(self) -> bool:
        """Whether every process says that it is ready."""
        return all(process.ready() for process in self.processes.values())

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> float:
        """Wait until it is so and give the seconds that it took; raises UnexpectedError."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                told = "\n".join(_tail(process.log) for process in self.processes.values())
                raise UnexpectedError(f"not within {seconds:.0f} s: {what}\n{told}")
            time.sleep(0.1)
        return time.monotonic() - began

    def flip(self, apart: tuple[str, ...] = ()) -> float:
        """Give the seconds until each process, apart from these, said that it is not ready, or did not answer in time.

        Each is asked by itself: the moment that counts is that of the question which it did not pass.
        """
        began = time.monotonic()

        def ask(process: Process) -> float:
            while True:
                at = time.monotonic() - began
                if not process.ready():
                    return at
                if at > _NEVER_SECONDS:
                    raise UnexpectedError(f"{process.log.name} says that it is ready {at:.0f} s after its fault")
                time.sleep(0.1)

        asked = [process for name, process in self.processes.items() if name not in apart]
        with ThreadPoolExecutor(len(asked)) as pool:
            return round(max(pool.map(ask, asked)), 1)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the database, past whatever disturbs the processes."""
        with psycopg.connect(self.postgres.url.replace("+psycopg", ""), autocommit=True) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def settle(self, names: tuple[str, ...] = (SINK, ISSUER, SUBSCRIBERS)) -> float:
        """Wait until every alert is read by all and every row of the outbox is sent; gives seconds."""
        took = 0.0
        for name in names:
            if name in self.processes:
                took += self.wait(lambda name=name: self._lag(TORN, name) == 0, SETTLE_SECONDS, f"{name} has read all")  # type: ignore[misc]  # defaults bind
        pending = "SELECT count(*) FROM outbox WHERE tenant = %s AND relayed_at IS NULL"
        took += self.wait(lambda: self.rows(pending, TORN) == [(0,)], SETTLE_SECONDS, "the outbox is empty")
        return took

    def judge(self) -> Verdict:
        """Let undisturbed processes read the same topic, and compare; the traffic must be over and all settled."""
        self._over.set()
        self._keeper.join()
        for process in self.processes.values():
            process.stop()
        for name in (SINK, ISSUER):
            self.processes[name] = self._process(name, CALM, self.servers, self.postgres.url)
            self.wait(lambda name=name: self._lag(CALM, name) == 0, SETTLE_SECONDS, f"the calm {name} has read all")  # type: ignore[misc]  # defaults bind
        return self._compare()

    def close(self) -> None:
        """End everything, whatever its state."""
        self._over.set()
        if self.traffic is not None:
            self.traffic.stop()
        if self._keeper.is_alive():
            self._keeper.join(10)
        for process in self.processes.values():
            process.kill()
            process.stop()
        self.broker.kill()
        self.postgres.kill()

    def _process(self, name: str, tenant: str, kafka: str, database: str) -> Process:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("STILLWATCH_")},
            "PYTHONPATH": str(ROOT),
            "STILLWATCH_BASE_DIR": str(self.folder),
            "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka,
            "STILLWATCH_DATABASE_URL": database,
            "STILLWATCH_TENANT": tenant,
            "STILLWATCH_PARTITIONS": str(PARTITIONS),
            "STILLWATCH_SESSION_TIMEOUT_MS": "6000",
            "STILLWATCH_API_PORT": "0",
            "STILLWATCH_METRICS_PORT": "0",
            "STILLWATCH_LOG_FORMAT": "json",
        }
        return Process(MODULES[name], environment, self.folder / f"{tenant}-{name}.log")

    def _keep(self) -> None:
        while not self._over.wait(0.2):
            for process in self.processes.values():
                process.supervise()

    def _migrate(self) -> None:
        subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=ROOT,
            env={**os.environ, "STILLWATCH_DATABASE_URL": self.postgres.url},
            check=True,
            capture_output=True,
        )
        engine = create_engine(self.postgres.url)
        with engine.begin() as connection:
            ensure_ahead(connection, NOW, months=24)
        engine.dispose()

    def _lag(self, tenant: str, name: str) -> int:
        """Count the alerts that a process has not committed yet."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": f"{tenant}.{name}"})
        try:
            width = len(consumer.list_topics(ALERTS.name, 10).topics[ALERTS.name].partitions)
            places = consumer.committed([TopicPartition(ALERTS.name, number) for number in range(width)], 10)
            ends = [consumer.get_watermark_offsets(place, 10)[1] for place in places]
            return sum(end - max(place.offset, 0) for place, end in zip(places, ends, strict=True))
        finally:
            consumer.close()

    def read(self, topic: str) -> list[tuple[bytes, bytes]]:
        """Read a topic whole, as keys and values; committed records only."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "judge",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
            }
        )
        try:
            width = len(consumer.list_topics(topic, 10).topics[topic].partitions)
            consumer.assign([TopicPartition(topic, number, 0) for number in range(width)])
            found: list[tuple[bytes, bytes]] = []
            ended = 0
            while ended < width:
                for message in consumer.consume(5_000, 0.2):
                    error = message.error()
                    if error is None:
                        found.append((message.key() or b"", message.value() or b""))
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended += 1
            return found
        finally:
            consumer.close()

    def _compare(self) -> Verdict:
        assert self.traffic is not None
        verdict = Verdict()
        sent = Counter(self.traffic.sent)
        for table, columns in COMPARED.items():
            asked = f"SELECT {columns} FROM {table} WHERE tenant = %s"  # noqa: S608 - constants of this module
            torn, calm = (Counter(self.rows(asked, tenant)) for tenant in (TORN, CALM))
            verdict.hold(table, torn, calm)
        revisions = Counter(self.rows("SELECT alert_id, revision FROM alert_revisions WHERE tenant = %s", TORN))
        verdict.hold("revisions that were sent", revisions, sent)
        self._compare_labels(verdict)
        self._compare_outputs(verdict)
        return verdict

    def _compare_labels(self, verdict: Verdict) -> None:
        """Every verdict that was acknowledged is a row, and every row is on the topic, always with the same bytes."""
        assert self.traffic is not None
        kept = {row[0] for row in self.rows("SELECT label_id FROM labels WHERE tenant = %s", TORN)}
        verdict.compared["labels"] += len(kept)
        verdict.lost["labels"] += len(self.traffic.labelled - kept)
        copies: dict[str, set[bytes]] = {}
        for _, value in self.read(LABELS.name):
            copies.setdefault(msgspec.json.decode(value, type=Label).label_id, set()).add(value)
        verdict.lost["labels on the topic"] += len(kept - copies.keys())
        verdict.doubled["labels on the topic"] += len(copies.keys() - kept)
        verdict.doubled["labels on the topic"] += sum(len(bodies) - 1 for bodies in copies.values())

    def _compare_outputs(self, verdict: Verdict) -> None:
        """Topics are written at least once: a record that comes again has the same bytes, and none is missing."""
        asked = "SELECT record FROM decisions WHERE tenant = %s AND record IS NOT NULL"
        issued = {bytes(row[0]) for row in self.rows(asked, TORN)}
        told = {value for _, value in self.read(DECISIONS.name)}
        verdict.compared["decisions on the topic"] += len(issued)
        verdict.lost["decisions on the topic"] += len(issued - told)
        verdict.doubled["decisions on the topic"] += len(told - issued)
        if SUBSCRIBERS in self.processes:
            self._compare_projections(verdict)

    def _compare_projections(self, verdict: Verdict) -> None:
        """Each revision of each alert has its projection: as many different ones by key as there are revisions."""
        assert self.traffic is not None
        wanted = Counter(alert_id for alert_id, _ in set(self.traffic.sent))
        found: Counter[str] = Counter(key.decode() for key, _ in set(self.read(ALERTS_OCSF.name)))
        verdict.hold("projections", found, wanted)


COMPARED: Final = {
    "alerts": "alert_id, revision, record",
    "alert_revisions": "alert_id, revision, record",
    "evidence": "alert_id, finding_id, revision, hop",
    "campaign_members": "alert_id, account, customer, requests, strength",
    "decisions": "subject_kind, subject, action, evidence_id, digest",
}


class Traffic:
    """Alerts that grow, and verdicts on those that are stored; what was acknowledged is kept in mind."""

    def __init__(self, servers: str, url: str, dice: Random) -> None:
        self.sent: list[tuple[str, int]] = []
        self.labelled: set[str] = set()
        self.refused = 0
        self._dice = dice
        self._producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 2})
        self._engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 2})
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._label)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End it; everything that was sent is acknowledged after this."""
        self._over.set()
        for thread in self._threads:
            thread.join(30)
        if self._producer.flush(60):
            raise UnexpectedError("the traffic's own records were not taken")
        self._engine.dispose()

    @property
    def going(self) -> bool:
        """Whether both go on."""
        return all(thread.is_alive() for thread in self._threads) and not self._over.is_set()

    def _send(self) -> None:
        hot = Counter(dict.fromkeys(range(HOT), 0))
        number = HOT
        while not self._over.wait(0.25):
            for each in self._dice.sample(range(HOT), HOT):
                hot[each] += 1
                self._produce(each, hot[each])
            for revision in (1, 2):
                self._produce(number, revision)
            number += 1

    def _produce(self, number: int, revision: int) -> None:
        # A finding more for each of hundreds of revisions would make records long, and the sample's clock go round.
        told = make_alert(number, min(revision, 6))
        updated = (read_moment(told.event_time) + timedelta(minutes=revision)).strftime("%Y-%m-%dT%H:%M:%SZ")
        # Strong enough for the policy to name them, so that every alert has a decision.
        strong = [msgspec.structs.replace(member, strength=0.9) for member in told.members]
        alert = msgspec.structs.replace(told, revision=revision, updated_time=updated, members=strong)
        self._producer.produce(ALERTS.name, encode_alert(alert), alert.alert_id.encode())
        self._producer.poll(0)
        self.sent.append((alert.alert_id, revision))

    def _label(self) -> None:
        while not self._over.wait(0.3):
            alert_id = self._dice.choice(self.sent or [("", 0)])[0]
            wish = Wish(alert_id=alert_id, verdict="insufficient_data", reason="chaos", actor="ana")
            try:
                with Session(self._engine) as session:
                    label_id = label_alert(session, TORN, wish, utc_now()).label.label_id
                    session.commit()
                self.labelled.add(label_id)
            except StillwatchError:
                self.refused += 1  # It is not stored yet.
            except DBAPIError:
                self.refused += 1  # Whether that commit came through is not promised, so it is not asked for.


def _tail(path: Path) -> str:
    return f"{path.name}: {path.read_text(encoding='utf-8', errors='replace')[-1200:]}"
