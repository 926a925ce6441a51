"""A moment: each process's page of metrics, its memory, and where the topics end."""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from prometheus_client.parser import text_string_to_metric_families

from schemas.topics import ALERTS, FINDINGS, POOL_CONTRIBUTIONS, REQUESTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.adapters.clock import Clock
    from services.bootstrap import ClientConfig

TIMEOUT_SECONDS: Final = 3.0
WATCHED: Final = (REQUESTS.name, POOL_CONTRIBUTIONS.name, FINDINGS.name, ALERTS.name)
_QUIET: Final = 0
Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Target:
    """A process to ask: ``state`` as its supervisor has it, ``pid`` where it runs on this machine."""

    name: str
    host: str
    port: int
    pid: int | None = None
    state: str = ""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """What a process said. ``why`` is "" where it answered; ``megabytes`` None where its memory cannot be seen."""

    target: Target
    samples: dict[str, dict[Labels, float]] = field(default_factory=dict)
    megabytes: float | None = None
    why: str = ""

    def each(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """Give the samples of a metric that have these labels."""
        wanted = labels.items()
        return [
            (dict(found), value) for found, value in self.samples.get(name, {}).items() if wanted <= dict(found).items()
        ]

    def total(self, name: str, **labels: str) -> float | None:
        """Give their sum; None where there is none."""
        found = [value for _, value in self.each(name, **labels)]
        return sum(found) if found else None


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything at one time (seconds of a monotonic clock). ``ends`` is None where no broker answered."""

    at: float
    pages: tuple[Page, ...]
    ends: dict[tuple[str, int], int] | None


class Reader:
    """Asks processes side by side, each for a short time, and the brokers; ``config`` is librdkafka's, or None."""

    def __init__(self, config: ClientConfig | None, clock: Clock, topics: Sequence[str] = WATCHED) -> None:
        self._clock = clock
        self._topics = topics
        self._admin = AdminClient({**config, "log_level": _QUIET}) if config is not None else None

    def read(self, targets: Sequence[Target]) -> Moment:
        """Ask everybody once."""
        at = self._clock.monotonic()
        with ThreadPoolExecutor(max(len(targets), 1) + 1, "top") as pool:
            ends = pool.submit(self._ends)
            pages = tuple(pool.map(read_page, targets))
        return Moment(at, pages, ends.result())

    def _ends(self) -> dict[tuple[str, int], int] | None:
        if self._admin is None:
            return None
        try:
            there = self._admin.list_topics(timeout=TIMEOUT_SECONDS).topics
            wanted = {
                TopicPartition(topic, number): OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library's own maker
                for topic in self._topics
                if topic in there
                for number in there[topic].partitions
            }
            found = self._admin.list_offsets(wanted, request_timeout=TIMEOUT_SECONDS) if wanted else {}
            return {(each.topic, each.partition): answer.result().offset for each, answer in found.items()}
        except (KafkaException, TimeoutError):
            return None


def read_page(target: Target) -> Page:
    """Ask one process."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        body = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return Page(target, why=f"/metrics does not answer ({type(error).__name__})")
    finally:
        connection.close()
    if answer.status != http.client.OK:
        return Page(target, why=f"/metrics says {answer.status}")
    try:
        samples = parse(body)
    except ValueError:
        return Page(target, why="/metrics is no page of metrics")
    return Page(target, samples, resident_megabytes(target.pid))


def parse(body: str) -> dict[str, dict[Labels, float]]:
    """Give the samples by name and labels; raises ValueError for what is no page of metrics."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def resident_megabytes(pid: int | None) -> float | None:
    """Give a process's resident memory, where this machine tells it."""
    if pid is None:
        return None
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return sizes[0] / 1024 if sizes else None
