"""Telemetry: the metric table is closed, and a process answers its three pages."""

from __future__ import annotations

import json
import logging
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
import structlog

from services.telemetry.health import CheckResult, HealthServer, readiness
from services.telemetry.logs import configure_logs, get_logger
from services.telemetry.metrics import METRICS, Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.enable_socket


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_pages_tell_life_readiness_and_figures() -> None:
    metrics = Metrics()
    metrics.counter("stillwatch_events_total", job="accounts").inc(3)
    ready = [False]
    server = HealthServer(metrics, {"lag": lambda: CheckResult(ready[0], "17 records behind")}).start()
    try:
        assert fetch(server.port, "/livez")[0] == 200
        status, body = fetch(server.port, "/readyz")
        assert (status, json.loads(body)["checks"]["lag"]["detail"]) == (503, "17 records behind")
        ready[0] = True
        assert fetch(server.port, "/readyz")[0] == 200
        assert 'stillwatch_events_total{job="accounts"} 3.0' in fetch(server.port, "/metrics")[1]
        assert 'stillwatch_check_ready{check="lag"} 1.0' in fetch(server.port, "/metrics")[1]
        ready[0] = False
        assert 'stillwatch_check_ready{check="lag"} 0.0' in fetch(server.port, "/metrics")[1]
        assert fetch(server.port, "/else")[0] == 404
    finally:
        server.stop()


def test_a_check_that_hangs_does_not_keep_the_figures_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.telemetry.health._PATIENCE_SECONDS", 0.05)
    go_on, asked = threading.Event(), []

    def hang() -> CheckResult:
        asked.append(1)
        return CheckResult(go_on.wait(30), "")

    checks = {"quick": lambda: CheckResult(ready=True, detail=""), "database": hang}
    server = HealthServer(Metrics(), checks).start()
    try:
        for _ in range(3):
            page = fetch(server.port, "/metrics")[1]
            assert 'stillwatch_check_ready{check="quick"} 1.0' in page
            assert 'stillwatch_check_ready{check="database"} 0.0' in page
        assert asked == [1], "one question at a time"
    finally:
        go_on.set()
        server.stop()


def test_a_check_that_raises_is_not_ready_and_tells_no_value() -> None:
    def check() -> CheckResult:
        raise RuntimeError("postgresql://u:secret@db")

    ready, results = readiness({"database": check})
    assert not ready
    assert results == {"database": {"ready": False, "detail": "RuntimeError"}}


def test_the_table_is_closed_and_in_base_units() -> None:
    metrics = Metrics()
    with pytest.raises(KeyError):
        metrics.counter("stillwatch_unknown_total")
    with pytest.raises(KeyError):
        metrics.gauge("stillwatch_events_total", job="x")
    for row in METRICS:
        assert row.name.startswith("stillwatch_")
        assert not {"account", "subject", "customer"} & set(row.labels)
        assert (row.kind == "counter") == row.name.endswith("_total")


@pytest.fixture
def fresh_logs() -> Iterator[None]:
    """Give the logs back as they were: this test's output is closed when the next one writes."""
    before = logging.root.handlers[:]
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.root.handlers[:] = before


@pytest.mark.usefixtures("fresh_logs")
def test_log_lines_are_json_with_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("accounts", log_format="json")
    get_logger().info("checkpoint.done", rows=3)
    line = json.loads(capsys.readouterr().err)
    assert (line["process"], line["event"], line["rows"], line["level"]) == ("accounts", "checkpoint.done", 3, "info")
