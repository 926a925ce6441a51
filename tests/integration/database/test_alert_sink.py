"""The sink on a real broker and a real database: nothing lost, nothing doubled, whatever is cut off in between."""

from __future__ import annotations

import threading
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from confluent_kafka import Consumer, Producer
from sqlalchemy import event, text

from schemas.alert import encode_alert
from schemas.dead_letter import DeadLetter
from schemas.topics import DEAD_LETTERS
from services.adapters.clock import SystemClock
from services.adapters.postgres.engine import create_engine
from services.adapters.retry import Backoff
from services.alert_sink.sink import AlertSink, Options, TooManyInvalidError
from services.telemetry.metrics import Metrics
from tests.integration.database.samples import make_alert
from tests.topics import make_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from detection.outcomes import Alert

pytestmark = pytest.mark.integration
POISON: dict[str, tuple[bytes, bytes | None]] = {
    "not_json": (b"k", b"\xff\xfe{"),
    "empty": (b"k", b""),
    "schema": (b"k", b'{"type":"alert.v1","alert_id":5}'),
    "unknown_version": (b"k", b'{"type":"alert.v9"}'),
    "key_mismatch": (b"k", encode_alert(make_alert(900))),
}


class Bench:
    """One sink's surroundings, and the sink in a thread."""

    def __init__(self, bootstrap_servers: str, url: str) -> None:
        self.servers = bootstrap_servers
        self.url = url
        self.topic = f"alerts-{uuid.uuid4().hex[:8]}"
        self.metrics = Metrics()
        make_topics(bootstrap_servers, (self.topic, DEAD_LETTERS.name))

    def publish(self, records: list[tuple[bytes | None, bytes | None]]) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        for key, value in records:
            producer.produce(self.topic, key=key, value=value)
        assert producer.flush(10) == 0

    def publish_alerts(self, alerts: list[Alert]) -> None:
        self.publish([(alert.alert_id.encode(), encode_alert(alert)) for alert in alerts])

    @contextmanager
    def running(self, engine: Engine, **changes: Any) -> Iterator[AlertSink]:
        """Run a sink; raise what it died of, unless it was told to stop."""
        base: dict[str, str | int | bool] = {"bootstrap.servers": self.servers}
        consumer = Consumer(
            base
            | {
                "group.id": f"{self.topic}.sink",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,
            }
        )
        stop = threading.Event()
        values: dict[str, Any] = {"tenant": "acme", "topic": self.topic, "retention_days": 400, "batch": 20}
        options = Options(**(values | {"backoff": Backoff(0.02, 0.2, 30.0)} | changes))
        sink = AlertSink(consumer, Producer(base), engine, self.metrics, SystemClock(), options, stop)
        deaths: list[BaseException] = []

        def work() -> None:
            try:
                sink.run()
            except BaseException as error:  # noqa: BLE001 - handed to the test, which raises it
                deaths.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield sink
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()
            consumer.close()
        if deaths:
            raise deaths[0]

    def counter(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def bench(bootstrap_servers: str, database_url: str) -> Bench:
    return Bench(bootstrap_servers, database_url)


def stored(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(text("SELECT alert_id, revision FROM alerts"))}


def dead_letters(bench: Bench, wanted: int) -> list[DeadLetter]:
    consumer = Consumer(
        {"bootstrap.servers": bench.servers, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([DEAD_LETTERS.name])
    letters: list[DeadLetter] = []

    def read() -> bool:
        for message in consumer.consume(100, 0.2):
            letter = msgspec.json.decode(message.value() or b"", type=DeadLetter)
            if letter.topic == bench.topic:
                letters.append(letter)
        return len(letters) >= wanted

    until(read)
    consumer.close()
    return letters


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    waited = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        waited.wait(0.05)
    pytest.fail("it did not come to pass in time")


def test_alerts_are_stored_once_though_they_come_again(bench: Bench, engine: Engine) -> None:
    alerts = [make_alert(number, revision) for number in range(30) for revision in (1, 2)]
    bench.publish_alerts(alerts + alerts[:17])
    with bench.running(engine) as sink:
        until(lambda: bench.counter("stillwatch_events_total", job="alert-sink") == 77)
        until(lambda: sink.lag == 0)
    assert stored(engine) == {make_alert(number).alert_id: 2 for number in range(30)}
    outcomes = ("new", "grown", "known")
    seen = [bench.counter("stillwatch_alerts_stored_total", outcome=outcome) for outcome in outcomes]
    assert seen == [30, 30, 17]
    assert bench.counter("stillwatch_event_to_alert_seconds_count") == 60
    bench.publish_alerts([make_alert(99)])
    with bench.running(engine):
        until(lambda: len(stored(engine)) == 31)
    # The second run began where the first one's offsets ended.
    assert bench.counter("stillwatch_events_total", job="alert-sink") == 78


def test_poison_goes_to_the_dead_letters_and_stops_nobody(bench: Bench, engine: Engine) -> None:
    nul = make_alert(901, title="a\0b")
    hostile = msgspec.structs.replace(make_alert(902), revision=2**63)
    bench.publish_alerts([make_alert(1)])
    bench.publish(list(POISON.values()))
    bench.publish([(None, encode_alert(make_alert(903)))])
    bench.publish_alerts([nul, hostile, make_alert(2)])
    with bench.running(engine):
        letters = dead_letters(bench, 8)
        until(lambda: len(stored(engine)) == 2)
    assert [letter.reason for letter in letters] == [*POISON, "null_key", "schema", "schema"]
    assert [letter.offset for letter in letters] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(letter.time_unix_ms > 0 and letter.schema == "alert.v1" for letter in letters)


def test_a_record_that_only_the_database_refuses_is_set_aside(bench: Bench, engine: Engine) -> None:
    raw = encode_alert(make_alert(904)).replace(b'"score":0.901', b'"score":1e999')
    bench.publish([(b"a000000000000388", raw)])
    bench.publish_alerts([make_alert(1)])
    with bench.running(engine):
        until(lambda: len(stored(engine)) == 1)
        (letter,) = dead_letters(bench, 1)
    assert (letter.reason, letter.offset) == ("schema", 0)
    assert stored(engine) == {make_alert(1).alert_id: 1}


def test_mostly_poison_stops_the_sink(bench: Bench, engine: Engine) -> None:
    bench.publish([(b"k", b"{")] * 1000)
    with pytest.raises(TooManyInvalidError, match="1000 of 1000"), bench.running(engine, batch=1000) as _:
        until(lambda: bench.counter("stillwatch_dead_letters_total", job="alert-sink", reason="not_json") >= 1000)


def test_connections_killed_in_mid_transaction_lose_and_double_nothing(bench: Bench, database_url: str) -> None:
    alerts = [make_alert(number, revision) for number in range(100) for revision in (1, 2, 3)]
    bench.publish_alerts(alerts)
    victim = create_engine(database_url, process="victim")
    observer = create_engine(database_url, process="observer")
    kills = 0

    @event.listens_for(victim, "before_cursor_execute")
    def kill(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        """End the session, from another one, in the middle of every third batch's transaction."""
        nonlocal kills
        if statement.startswith("DELETE FROM campaign_members"):
            kill.calls += 1  # type: ignore[attr-defined]  # a counter on the function that counts
            if kill.calls % 40 == 7:  # type: ignore[attr-defined]  # as above
                kills += 1
                pid = connection.connection.dbapi_connection.info.backend_pid
                with observer.begin() as other:
                    other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    kill.calls = 0  # type: ignore[attr-defined]  # as above
    with bench.running(victim):
        until(lambda: bench.counter("stillwatch_events_total", job="alert-sink") == 300)
    assert kills >= 3
    assert stored(observer) == {make_alert(number).alert_id: 3 for number in range(100)}
    with observer.connect() as connection:
        for table, expected in (("alert_revisions", 300), ("evidence", 300), ("campaign_members", 300)):
            counted = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608 - a constant of this test
            assert (table, counted) == (table, expected)
    victim.dispose()
    observer.dispose()


def test_a_database_that_is_read_only_for_a_while_delays_and_loses_nothing(bench: Bench, database_url: str) -> None:
    engine = create_engine(database_url, process="test")
    name = engine.url.database
    with engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    engine.dispose()
    bench.publish_alerts([make_alert(1)])
    with bench.running(engine):
        threading.Event().wait(1.0)
        assert stored(engine) == {}
        with engine.begin() as connection:
            connection.execute(text("SET TRANSACTION READ WRITE"))
            connection.execute(text(f"ALTER DATABASE {name} RESET default_transaction_read_only"))
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        until(lambda: len(stored(engine)) == 1)
    engine.dispose()


def test_a_bug_ends_the_sink_and_its_batch_comes_again(bench: Bench, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE evidence RENAME TO mislaid"))
    bench.publish_alerts([make_alert(1)])
    with pytest.raises(Exception, match='relation "evidence" does not exist'), bench.running(engine):
        threading.Event().wait(5.0)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE mislaid RENAME TO evidence"))
    with bench.running(engine):
        until(lambda: len(stored(engine)) == 1)
