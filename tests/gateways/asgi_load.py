"""The middleware under load: what it adds to a response, with Kafka there, gone, and back; and that nothing is lost.

Run by `make test-gateways`; needs wrk. STILLWATCH_OUTAGE_SECONDS says how long the broker is gone (default 10; 60 in
`make load-gateways`). Latencies are told, not judged: a test that judges a clock fails on a busy machine. Each round
with the middleware stands beside one without it. The servers have a core of their own; wrk, broker and publisher
process have another one, where wrk goes first: a deployment has clients and brokers elsewhere, and more cores.
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
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from services.adapters.embedded import EmbeddedKafka
from services.gateway.identity import Identity
from tests.gateways.conftest import KEY, ROOT, free_port, read_topic, settings, wait_until
from tests.topics import make_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
OUTAGE = float(os.environ.get("STILLWATCH_OUTAGE_SECONDS", "10"))
ROUND_SECONDS = max(5, int(os.environ.get("STILLWATCH_ROUND_SECONDS", "6")))
CONNECTIONS = 4
CORES = frozenset(os.sched_getaffinity(0))
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
wrk.body = [[{body}]]
"""
BODY = {
    "model": "m",
    "messages": [{"role": "user", "content": "Tell me of the sea and of all that lives in it. " * 21}],
}
PHASES = ("Kafka there", "Kafka gone", "Kafka back")
MERGED_MS = 20  # Ends are told by two clocks, each rounded, and by threads that a busy machine may hold up.


class Server:
    """One uvicorn process."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        self._log = (folder / f"{name}.log").open("wb")
        factory = [] if name == "plain" else ["--factory"]
        target = "tests.gateways.loaded_app:" + ("app" if name == "plain" else "watched")
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

    def have_a_core(self, children: int) -> None:
        """Move the server to the first core; its publisher process stays on the other one, behind all else there."""
        tasks = Path(f"/proc/{self._process.pid}/task")

        def born() -> list[str]:
            return " ".join(file.read_text(encoding="ascii") for file in tasks.glob("*/children")).split()

        wait_until(lambda: len(born()) == children, 60, "it has begun")
        for child in born():
            for task in Path(f"/proc/{child}/task").iterdir():
                os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))
        for task in tasks.iterdir():
            os.sched_setaffinity(int(task.name), {min(CORES)})

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()


def answers_post(url: str) -> bool:
    try:
        return httpx.post(url, json=BODY, timeout=5).is_success
    except httpx.HTTPError:
        return False


@dataclass
class Wrk:
    """One run of wrk: requests answered, latencies in ms, errors."""

    phase: str
    name: str
    url: str
    script: Path

    def __post_init__(self) -> None:
        command = [
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{ROUND_SECONDS}s",
            "--latency",
            "-s",
            str(self.script),
            self.url,
        ]
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


def behind(act: Callable[[], object]) -> Future[object]:
    """Act in a thread that stands behind all others, and so does every process that it starts."""

    def acting() -> object:
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
        return act()

    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(acting)
    finally:
        pool.shutdown(wait=False)


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    os.sched_setaffinity(0, {max(CORES)})  # All that is started from here stays there, too.
    server = EmbeddedKafka(tmp_path / "kafka")
    try:
        behind(server.start).result()
        make_topic(server.bootstrap_servers, "requests", 1)
        yield server
    finally:
        server.stop()
        os.sched_setaffinity(0, CORES)


def counted(port: int, name: str) -> int:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    return sum(int(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def test_nothing_is_lost_and_little_is_added(own_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    assert shutil.which("wrk"), "install wrk"
    servers = own_kafka.bootstrap_servers
    metrics = free_port()
    environment = settings(servers, tmp_path, PYTHONPATH=str(ROOT))
    apart = {**environment, "STILLWATCH_GATEWAY_METRICS_PORT": str(metrics)}
    thread = {**environment, "STILLWATCH_GATEWAY_PUBLISHER": "thread"}
    plain, watched, threaded = (
        Server(name, each, tmp_path)
        for name, each in (("plain", environment), ("watched", apart), ("threaded", thread))
    )
    for server, children in ((plain, 0), (watched, 1), (threaded, 0)):
        server.have_a_core(children)
    rounds: list[Wrk] = []

    def measure(phase: str, *, compare: bool = False) -> None:
        for name, server in (("without", plain), ("with", watched), ("in a thread", threaded))[: 2 + compare]:
            script = tmp_path / f"{server.port}.lua"
            script.write_text(SCRIPT.format(body=json.dumps(BODY), key=f"sk-{name}"), encoding="utf-8")
            rounds.append(Wrk(phase, name, server.url, script))

    try:
        measure("warm-up", compare=True)
        for _ in range(3):
            measure(PHASES[0], compare=True)
        away = behind(lambda: _be_away(own_kafka))
        while not away.done():
            measure(PHASES[1])
        away.result()
        for _ in range(3):
            measure(PHASES[2])
        wait_until(lambda: counted(metrics, "stillwatch_gateway_waiting") == 0, 120, "everything is on Kafka")
        spooled = counted(metrics, "stillwatch_gateway_spooled_total")
        assert counted(metrics, "stillwatch_gateway_dropped_total") == 0
        assert counted(metrics, "stillwatch_gateway_failures_total") == 0
    finally:
        for server in (plain, watched, threaded):
            server.stop()
    tell(rounds)
    assert [run.errors for run in rounds if run.errors] == []
    wait_until(lambda: answers_kafka(servers), 60, "the broker answers")
    account = Identity(KEY.encode()).account("sk-with")
    asked = [run for run in rounds if run.name == "with"]
    answered = sum(run.requests for run in asked)
    events: OrderedDict[str, dict[str, Any]] = OrderedDict()
    values = [event for event in map(json.loads, read_topic(servers, "requests")) if event["account"] == account]
    for event in values:
        events.setdefault(event["event_id"], event)
    ends = [event["time_unix_ms"] + event["duration_ms"] for event in events.values()]
    late = sum(later < earlier - MERGED_MS for earlier, later in itertools.pairwise(ends))
    sys.stdout.write(
        f"{answered} answered, {len(events)} events, {len(values) - len(events)} sent twice, {spooled} by the spool, "
        f"{late} out of order\n"
    )
    # wrk does not count what was under way when its time was up.
    assert answered <= len(events) <= answered + CONNECTIONS * len(asked)
    assert spooled > 0
    assert late == 0


def tell(rounds: list[Wrk]) -> None:
    for run in rounds:
        sys.stdout.write(
            f"{run.phase:12} {run.name:12} {run.requests:6} requests, p50 {run.p50:6.2f} ms, p99 {run.p99:6.2f} ms\n"
        )
    for phase in PHASES:
        for name in ("with", "in a thread"):
            of = {each: [run for run in rounds if (run.phase, run.name) == (phase, each)] for each in ("without", name)}
            if of[name]:
                p50, p99 = (
                    statistics.median(getattr(run, share) for run in of[name])
                    - statistics.median(getattr(run, share) for run in of["without"])
                    for share in ("p50", "p99")
                )
                sys.stdout.write(
                    f"{phase:12} {name:12} adds p50 {p50:5.2f} ms, p99 {p99:5.2f} ms (medians of rounds)\n"
                )


def _be_away(kafka: EmbeddedKafka) -> None:
    kafka.stop()
    time.sleep(OUTAGE)
    kafka.start()


def answers_kafka(servers: str) -> bool:
    make_topic(servers, "requests", 1)
    return True
