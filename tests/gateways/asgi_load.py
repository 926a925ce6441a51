"""The middleware under load: what it adds to a response, with Kafka there, gone, and back; and that nothing is lost.

Run by `make test-gateways`; needs wrk. STILLWATCH_OUTAGE_SECONDS says how long the broker is gone (default 10; 60 in
`make load-gateways`). Latencies are told, not judged: a test that judges a clock fails on a busy machine.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from services.adapters.embedded import EmbeddedKafka
from tests.gateways.conftest import ROOT, free_port, make_topic, read_topic, settings, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
OUTAGE = float(os.environ.get("STILLWATCH_OUTAGE_SECONDS", "10"))
ROUND_SECONDS = max(5, int(os.environ.get("STILLWATCH_ROUND_SECONDS", "8")))
CONNECTIONS = 4
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer sk-load"
wrk.body = [[{body}]]
"""
BODY = {
    "model": "m",
    "messages": [{"role": "user", "content": "Tell me of the sea and of all that lives in it. " * 21}],
}
MERGED_MS = 20  # Ends are told by two clocks, each rounded, and by threads that a busy machine may hold up.


class Server:
    """One uvicorn process."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        self._log = (folder / f"{name}.log").open("wb")
        factory = ["--factory"] if name == "watched" else []
        target = f"tests.gateways.loaded_app:{name}"
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            target,
            *factory,
            "--port",
            str(self.port),
            "--log-level",
            "warning",
        ]
        self._process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=self._log, stderr=self._log)
        wait_until(lambda: answers_post(self.url), 120, f"{name} answers")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()


def answers_post(url: str) -> bool:
    try:
        return httpx.post(url, json=BODY, timeout=5).is_success
    except httpx.HTTPError:
        return False


class Wrk:
    """One run of wrk: requests answered, latencies in ms, errors."""

    def __init__(self, url: str, seconds: int, script: Path) -> None:
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script), url]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self.requests = int(_found(r"(\d+) requests in", told))
        self.p50, self.p99 = (_ms(_found(rf"(?m)^ +{share}%\s+(\S+)$", told)) for share in ("50", "99"))
        self.errors = re.findall(r"(Non-2xx.*|Socket errors.*)", told)


def _found(pattern: str, told: str) -> str:
    match = re.search(pattern, told)
    assert match, told
    return match[1]


def _ms(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]  # wrk writes no other
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(tmp_path / "kafka") as server:
        make_topic(server.bootstrap_servers, "requests", 1)
        yield server


def counted(port: int, name: str) -> int:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    return sum(int(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def test_nothing_is_lost_and_little_is_added(own_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    assert shutil.which("wrk"), "install wrk"
    servers = own_kafka.bootstrap_servers
    script = tmp_path / "post.lua"
    script.write_text(SCRIPT.format(body=json.dumps(BODY)), encoding="utf-8")
    metrics = free_port()
    environment = settings(servers, tmp_path, STILLWATCH_GATEWAY_METRICS_PORT=str(metrics), PYTHONPATH=str(ROOT))
    plain, watched = Server("app", environment, tmp_path), Server("watched", environment, tmp_path)
    try:
        rounds: list[tuple[str, Wrk]] = []
        for name, server in (("without", plain), ("with", watched)) * 2:
            rounds.append((name, Wrk(server.url, ROUND_SECONDS, script)))
        away = threading.Thread(target=lambda: _be_away(own_kafka))
        away.start()
        began = time.monotonic()
        while away.is_alive() or time.monotonic() - began < OUTAGE:
            rounds.append(("with, Kafka gone", Wrk(watched.url, ROUND_SECONDS, script)))
            rounds.append(("without", Wrk(plain.url, 3, script)))
        away.join()
        rounds.append(("with, Kafka back", Wrk(watched.url, ROUND_SECONDS, script)))
        for name, run in rounds:
            sys.stdout.write(f"{name:17} {run.requests:6} requests, p50 {run.p50:8.2f} ms, p99 {run.p99:8.2f} ms\n")
            assert run.errors == []
        for name in dict.fromkeys(name for name, _ in rounds if name != "without"):
            sys.stdout.write(
                f"{name:17} adds p50 {added(rounds, name, 'p50'):5.2f} ms, p99 {added(rounds, name, 'p99'):5.2f} ms\n"
            )
        asked = sum(run.requests for name, run in rounds if name != "without")
        wait_until(lambda: counted(metrics, "stillwatch_gateway_waiting") == 0, 120, "everything is on Kafka")
        spooled = counted(metrics, "stillwatch_gateway_spooled_total")
        assert counted(metrics, "stillwatch_gateway_dropped_total") == 0
        assert counted(metrics, "stillwatch_gateway_failures_total") == 0
    finally:
        plain.stop()
        watched.stop()
    wait_until(lambda: answers_kafka(servers), 60, "the broker answers")
    events: OrderedDict[str, dict[str, Any]] = OrderedDict()
    values = read_topic(servers, "requests")
    for value in values:
        event = json.loads(value)
        events.setdefault(event["event_id"], event)
    ends = [event["time_unix_ms"] + event["duration_ms"] for event in events.values()]
    late = sum(later < earlier - MERGED_MS for earlier, later in itertools.pairwise(ends))
    sys.stdout.write(
        f"{asked} answered, {len(events)} events, {len(values) - len(events)} sent twice, {spooled} by the spool, "
        f"{late} out of order\n"
    )
    # wrk does not count what was under way when its time was up; the first request of each server is ours.
    assert asked < len(events) <= asked + 1 + CONNECTIONS * len(rounds)
    assert spooled > 0
    assert late == 0


def added(rounds: list[tuple[str, Wrk]], name: str, share: str) -> float:
    """Median over rounds with the middleware, less the median over those without it."""
    with_it, without = (
        statistics.median(getattr(run, share) for each, run in rounds if each == wanted) for wanted in (name, "without")
    )
    return with_it - without


def _be_away(kafka: EmbeddedKafka) -> None:
    kafka.stop()
    time.sleep(OUTAGE)
    kafka.start()


def answers_kafka(servers: str) -> bool:
    make_topic(servers, "requests", 1)
    return True
