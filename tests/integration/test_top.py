"""`stillwatch top` on real pages of metrics and a real broker: well, unwell, and with nothing there."""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import typer
from confluent_kafka import Producer
from typer.testing import CliRunner

from schemas.topics import Topic
from services.adapters.clock import SystemClock
from services.adapters.kafka.topics import ClusterTopics
from services.bootstrap import load_settings
from services.cli import top as command
from services.errors import NotRunningError
from services.telemetry.health import CheckResult, HealthServer
from services.telemetry.metrics import Metrics
from services.top.reading import Reader, Target, read_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics()
    made.counter("stillwatch_events_total", job="accounts").inc(5)
    made.gauge("stillwatch_consumer_lag", job="accounts", topic="requests", partition="0").set(7)
    return made


@pytest.fixture
def server(metrics: Metrics) -> Iterator[HealthServer]:
    ready = {"assigned": lambda: CheckResult(ready=True, detail="1 partition")}
    running = HealthServer(metrics, ready).start()
    yield running
    running.stop()


@pytest.fixture
def run(kafka: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv("STILLWATCH_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    monkeypatch.setenv("STILLWATCH_BASE_DIR", str(tmp_path))
    load_settings.cache_clear()
    app = typer.Typer()
    command.register(app)
    yield lambda *arguments: CliRunner().invoke(app, [*arguments, "--every", "0.5"])
    load_settings.cache_clear()


def test_it_reads_processes_and_brokers(run: Any, server: HealthServer) -> None:
    done = run("--once", "--json", "--metrics", f"accounts=127.0.0.1:{server.port}")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["seconds"] >= 0.5
    (job,) = told["jobs"]
    assert (job["name"], job["lag"], job["events"], job["why"]) == ("accounts", 7, 0, "")
    assert [(each["partition"], each["lag"]) for each in told["places"]] == [(0, 7)]
    assert {"requests", "alerts"} <= set(told["topics"]), "a broker answered"


def test_the_ends_of_topics_are_read_by_partition(kafka: Any) -> None:
    # The run's broker is shared with every other test.
    topic = Topic(f"top-test.{uuid.uuid4().hex}", "none", "nothing", "wide", "delete", 3_600_000)
    config: dict[str, str | int | float | bool] = {"bootstrap.servers": kafka.bootstrap_servers}
    ClusterTopics(config, [topic], 2, 1).apply()
    reader = Reader(config, SystemClock(), (topic.name, "not-there"))
    before = reader.read(())
    producer = Producer(config)
    for _ in range(3):
        producer.produce(topic.name, b"x", partition=1)
    assert producer.flush(30) == 0
    after = reader.read(())
    assert before.ends == {(topic.name, 0): 0, (topic.name, 1): 0}
    assert after.ends == {(topic.name, 0): 0, (topic.name, 1): 3}
    assert after.at > before.at


def test_a_process_that_does_not_answer_is_shown_and_is_exit_code_3(run: Any, server: HealthServer) -> None:
    done = run("--once", "--metrics", f"accounts=127.0.0.1:{server.port}", "--metrics", "pools=127.0.0.1:1")
    assert done.exit_code == command.UNWELL == 3
    assert "1 of 2 well" in done.output
    assert "does not answer" in done.output


def test_where_nothing_runs_it_says_so(run: Any) -> None:
    assert isinstance(run("--once").exception, NotRunningError)


def test_what_a_process_takes_is_read_from_the_kernel(server: HealthServer) -> None:
    page = read_page(Target("accounts", "127.0.0.1", server.port, pid=os.getpid()))
    assert page.why == ""
    assert page.megabytes is not None
    assert page.megabytes > 10
