"""The doctor on a real broker and a real database: well, and ill in each way that it knows."""

from __future__ import annotations

import json
import shutil
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import typer
from confluent_kafka import Producer
from typer.testing import CliRunner

from schemas.topics import Topic
from services.adapters.clock import SystemClock
from services.adapters.kafka.topics import ClusterTopics
from services.adapters.postgres.engine import create_engine
from services.bootstrap import load_settings
from services.cli import doctor as command
from services.doctor import around
from services.doctor.finding import ask
from services.doctor.kafka import Cluster
from services.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration
PARTITIONS = 3


class Behind(SystemClock):
    """A machine whose clock is a minute behind everybody's."""

    def now_ms(self) -> int:
        return super().now_ms() - 60_000


def make(kafka: Any, *, there: bool = True, replicas: int = 1, clock: SystemClock | None = None) -> tuple[Cluster, str]:
    """Give a doctor of a cluster with one topic of this test's own, and the topic's name."""
    # The run's broker is shared with every other test.
    topic = Topic(f"doctor-test.{uuid.uuid4().hex}", "account", "nothing", "wide", "delete", 3_600_000)
    config: dict[str, str | int | float | bool] = {"bootstrap.servers": kafka.bootstrap_servers}
    if there:
        ClusterTopics(config, [topic], PARTITIONS, 1).apply()
    settings = Settings(partitions=PARTITIONS, replication_factor=replicas)
    return Cluster(config, settings, clock or SystemClock(), 20.0, [topic], topic.name), topic.name


def send(kafka: Any, topic: str, *, astray: bool = False) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "partitioner": "murmur2_random"})
    for number in range(30):
        place = {"partition": number % PARTITIONS} if astray else {}
        producer.produce(topic, b"{}", b"account-%d" % number, **place)
    assert producer.flush(30) == 0


def test_a_cluster_that_is_well(kafka: Any) -> None:
    cluster, topic = make(kafka)
    send(kafka, topic)
    found = [ask("a", each) for each in (cluster.brokers, cluster.topics, cluster.partitioner, cluster.clock)]
    assert [each.state for each in found] == ["ok"] * 4, found
    assert found[2].detail.startswith("30 newest")
    rights = ask("rights", cluster.rights)
    assert (rights.state, "authorizer" in rights.advice) == ("warning", True), "this broker asks nobody who they are"


def test_a_producer_with_another_partitioner_is_found(kafka: Any) -> None:
    cluster, topic = make(kafka)
    send(kafka, topic, astray=True)
    found = ask("partitioner", cluster.partitioner)
    assert found.state == "failed"
    assert "murmur2_random" in found.advice


def test_what_is_missing_and_whose_clock_is_wrong_is_found(kafka: Any) -> None:
    cluster, topic = make(kafka, replicas=3, clock=Behind())
    send(kafka, topic)
    assert ask("broker", cluster.brokers).state == "failed"
    assert ask("clock", cluster.clock).state == "failed"
    missing, _ = make(kafka, there=False)
    assert "topics apply" in ask("topics", missing.topics).advice


def test_the_database_and_its_clock(database_url: str) -> None:
    engine = create_engine(database_url, process="test", pool_size=1)
    try:
        assert ask("database", lambda: around.schema(engine)).state == "ok"
        assert ask("clock", lambda: around.clock(engine, SystemClock())).state == "ok"
        assert ask("clock", lambda: around.clock(engine, Behind())).state == "failed"
    finally:
        engine.dispose()


def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    for total, free, state in ((100 << 30, 50 << 30, "ok"), (100 << 30, 5 << 30, "warning"), (100 << 30, 1, "failed")):
        given = usage._replace(total=total, free=free)
        monkeypatch.setattr("services.doctor.around.shutil.disk_usage", lambda _, given=given: given)
        assert around.disk(tmp_path / "not" / "there").state == state


def test_the_command_tells_what_to_do_and_ends_with_seven(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLWATCH_BASE_DIR", str(tmp_path))
    monkeypatch.setenv("STILLWATCH_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("STILLWATCH_DATABASE_URL", database_url)
    load_settings.cache_clear()
    app = typer.Typer()
    command.register(app)
    try:
        done = CliRunner().invoke(app, ["--json", "--timeout", "1"])
    finally:
        load_settings.cache_clear()
    assert done.exit_code == 7
    found = {each["check"]: each for each in json.loads(done.stdout)}
    assert found["broker"]["state"] == "failed"
    assert found["broker"]["advice"]
    assert found["database"]["state"] == "ok"
    assert "partitioner" not in found, "nothing is asked of a broker that is not there"
