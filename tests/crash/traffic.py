"""Traffic with the real feature set: a simulated day, cloned over accounts and days, out of order, with bad records."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from confluent_kafka import Producer

from schemas.topics import ACCOUNT_ATTRIBUTES, REQUESTS
from services.adapters.clock import SystemClock
from services.adapters.kafka.client import producer_config
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
    from collections.abc import Callable, Sequence
    from random import Random

ROOT = Path(__file__).parents[2]
SEED = 1
POISON_SHARE = 0.004
LATE_SHARE = 0.02
SHUFFLED_MS = 20_000  # Within the lateness bound.
_SCOPED = ("account", "organization", "client_address", "client_network")
_ATTRIBUTES_SCOPED = ("account", "organization", "payment", "signup_network")
POISON = (
    b"",
    b"this is no JSON",
    b'{"type":"request.v9","event_id":"x"}',
    b'{"type":"request.v1","event_id":7}',
    b'{"type":"request.v1"' + b"[" * 5_000,
    b"\xff\xfe\xfd",
)


class Keyed(NamedTuple):
    """A record for a topic."""

    key: bytes
    value: bytes


def simulated_day() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give the attributes and the requests of one day that is over, as plain dicts in order of time.

    Kept under build/ for as long as what makes them is the same: to write and sketch the texts takes a while.
    """
    start = (SystemClock().now_ms() - 3_600_000) // DAY_MS * DAY_MS - DAY_MS
    kept = ROOT / "build" / f"simulated-day-{start}-{_digest_of_makers()}.json"
    if not kept.is_file():
        kept.parent.mkdir(exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(_simulate(start)), encoding="utf-8")
        part.replace(kept)
    attributes, events = json.loads(kept.read_bytes())
    return attributes, events


def _digest_of_makers() -> str:
    digest = hashlib.blake2b(digest_size=6)
    for folder in ("services/simulator", "services/gateway", "detection/text", "schemas"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _simulate(start: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    population = make_population("tiny", SEED, start)
    identity = load_identity(Settings(hmac_key="k" * 32))  # type: ignore[arg-type]  # pydantic makes the secret
    maker = EventMaker(identity)
    attributes = [to_attributes(account.attributes(), identity) for account in population.accounts]
    events = [maker.to_event(openai.parse(record)) for record in Traffic(population, Corpus(None), SEED).days(1)]
    return [_plain(item) for item in attributes], [_plain(event) for event in events]


def cloned_attributes(attributes: Sequence[dict[str, Any]], clones: int) -> list[Keyed]:
    """Tell of each account once for each clone."""
    records = []
    for clone in range(clones):
        for item in attributes:
            told = item | {name: _scope(item[name], clone) for name in _ATTRIBUTES_SCOPED if item.get(name)}
            records.append(Keyed(told["account"].encode(), json.dumps(told).encode()))
    return records


def clone_of(event: dict[str, Any], clone: int, time_ms: int, salt: int = 0) -> Keyed:
    """Give a request as another account's, at another time; the same clone and salt give the same event id."""
    made = event | {name: _scope(event[name], clone) for name in _SCOPED if event.get(name)}
    name = f"{event['event_id']}-{clone}-{salt}"
    made["event_id"] = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    made["time_unix_ms"] = time_ms
    return Keyed(made["account"].encode(), json.dumps(made).encode())


def cloned_requests(
    events: Sequence[dict[str, Any]], clones: int, dice: Random, poison_share: float = POISON_SHARE
) -> list[Keyed]:
    """Give the day's requests of every clone, shuffled within the lateness bound, some late, some unreadable.

    Clones share templates and settings, so pools hold many accounts.
    """
    drawn: list[tuple[int, Keyed]] = []
    for clone in range(clones):
        for event in events:
            time_ms = event["time_unix_ms"] + dice.randrange(60_000)
            record = clone_of(event, clone, time_ms)
            place = time_ms + dice.randrange(SHUFFLED_MS)
            if dice.random() < LATE_SHARE:
                place += dice.randrange(3_600_000)
            drawn.append((place, record))
            if dice.random() < poison_share:
                drawn.append((place, Keyed(record.key, dice.choice(POISON))))
    return [record for _, record in sorted(drawn)]


def _scope(identifier: str, clone: int) -> str:
    if not clone:
        return identifier
    return hashlib.blake2b(f"{identifier}-{clone}".encode(), digest_size=8).hexdigest()


def _plain(record: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(msgspec.json.encode(record))
    return plain


class Load:
    """A thread that sends requests, in bursts of random size, until it is told to end. Counts what was acknowledged."""

    def __init__(self, servers: str, records: Sequence[Keyed], rate: float, dice: Random) -> None:
        self._producer = Producer(producer_config(Settings(), servers) | {"log_level": 0, "linger.ms": 2})
        self._records = records
        self._rate = rate
        self._dice = dice
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.sent = 0
        self.outcomes: Counter[str] = Counter()

    @property
    def over(self) -> bool:
        """Whether every record was sent."""
        return self.sent >= len(self._records)

    def attributes(self, records: Sequence[Keyed]) -> None:
        """Send what is known of accounts, and wait until the broker has it."""
        for record in records:
            self._producer.produce(ACCOUNT_ATTRIBUTES.name, record.value, record.key)
        if self._producer.flush(60):
            raise TimeoutError("the broker did not take the attributes")

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not (self.over or self._halt.is_set()):
            count = self._dice.randrange(1, 40)
            for record in self._records[self.sent : self.sent + count]:
                self._produce(record)
            self.sent = min(self.sent + count, len(self._records))
            self._producer.poll(0)
            time.sleep(count / self._rate)

    def _produce(self, record: Keyed) -> None:
        while True:
            try:
                self._producer.produce(REQUESTS.name, record.value, record.key, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _delivered(self, error: Any, _message: object) -> None:
        self.outcomes["acknowledged" if error is None else error.name()] += 1

    def finish(self, progress: Callable[[], None] = lambda: None) -> None:
        """Send no more, and wait until the broker has answered for each record."""
        self._halt.set()
        self._thread.join()
        deadline = time.monotonic() + 120
        while self._producer.flush(1.0):
            progress()
            if time.monotonic() > deadline:
                raise TimeoutError("the broker did not answer for every record")
