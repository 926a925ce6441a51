"""Every process on Kafka says within ten seconds that its broker is gone, and then that it is back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from schemas.topics import TOPICS
from services.adapters.embedded import EmbeddedKafka
from services.adapters.kafka.topics import ClusterTopics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
FLIP_SECONDS = 10.0
PARTITIONS = 2
# Both kinds of workers, and all that stand between Kafka and the database.
MODULES = (
    "stream_jobs.accounts",
    "stream_jobs.incidents",
    "services.alert_sink",
    "services.alert_sink.relay",
    "services.decisions",
    "services.subscribers",
    "services.api",
)


class Stack:
    """A broker of this test's own, and one process of each kind; ``ports`` are those of their health pages."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.broker = EmbeddedKafka(folder / "broker")
        self._folder = folder
        self._database_url = database_url
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}

    def open(self) -> None:
        self.broker.start(timeout=120)
        ClusterTopics({"bootstrap.servers": self.broker.bootstrap_servers}, TOPICS, PARTITIONS, 1).apply()
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "STILLWATCH_BASE_DIR": str(self._folder),
            "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers,
            "STILLWATCH_DATABASE_URL": self._database_url,
            "STILLWATCH_PARTITIONS": str(PARTITIONS),
            # A worker whose session ends is ended; here it shall live, to tell what it hears.
            "STILLWATCH_SESSION_TIMEOUT_MS": "30000",
            "STILLWATCH_API_PORT": "0",
            "STILLWATCH_METRICS_PORT": "0",
            "STILLWATCH_LOG_FORMAT": "json",
        }
        for module in MODULES:
            with self._log(module).open("wb") as log:
                self._processes[module] = subprocess.Popen(
                    [sys.executable, "-m", module], env=environment, stdout=log, stderr=log, cwd=self._folder
                )
        for module in MODULES:
            wait_until(partial(self._find_port, module), 120, f"{module} to start")

    def count_ready(self) -> int:
        """Count the processes that are ready."""
        return sum(self.ask(module)[0] for module in MODULES)

    def count_hearing(self) -> int:
        """Count the processes that hear their broker."""
        return sum(self.ask(module)[1]["kafka"]["ready"] for module in MODULES)

    def ask(self, module: str) -> tuple[bool, dict[str, Any], float]:
        """Give whether a process is ready, its checks, and how many seconds the answer took."""
        began = time.monotonic()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[module]}/readyz", timeout=20) as answer:
                body = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                body = json.load(error)
        except urllib.error.URLError:
            pytest.fail(f"{module} does not answer: {self._log(module).read_text(encoding='utf-8')[-4000:]}")
        return body["ready"], body["checks"], time.monotonic() - began

    def _log(self, module: str) -> Path:
        return self._folder / f"{module}.log"

    def _find_port(self, module: str) -> bool:
        assert self._processes[module].poll() is None, self._log(module).read_text(encoding="utf-8")
        found = re.search(r'"metrics_port": ?(\d+)', self._log(module).read_text(encoding="utf-8"))
        if found:
            self.ports[module] = int(found[1])
        return found is not None

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait(10)
        self.broker.kill()


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait; gives the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.1)
    return time.monotonic() - began


@pytest.fixture
def stack(tmp_path: Path, database_url: str) -> Iterator[Stack]:
    made = Stack(tmp_path, database_url)
    try:
        made.open()
        yield made
    finally:
        made.close()


def test_readiness_flips_with_the_broker(stack: Stack) -> None:
    """A frozen broker's port takes connections and never answers, a dead one's refuses: the probe answers at once."""
    wait_until(lambda: stack.count_ready() == len(MODULES), 120, "every process to be ready")
    os.kill(stack.broker.pid, signal.SIGSTOP)
    try:
        expect_unready(stack)
    finally:
        os.kill(stack.broker.pid, signal.SIGCONT)
    expect_hearing(stack)
    wait_until(lambda: stack.count_ready() == len(MODULES), 120, "every process to be ready again")
    stack.broker.kill()
    expect_unready(stack)
    stack.broker.start(timeout=120)
    expect_hearing(stack)


def expect_unready(stack: Stack) -> None:
    assert wait_until(lambda: stack.count_ready() == 0, 60, "every process to be unready") < FLIP_SECONDS
    for module in MODULES:
        ready, checks, seconds = stack.ask(module)
        assert (ready, checks["kafka"]["ready"]) == (False, False), module
        assert "no broker has answered" in checks["kafka"]["detail"]
        assert seconds < 1, f"the probe of {module} hung for {seconds:.1f} s"


def expect_hearing(stack: Stack) -> None:
    assert wait_until(lambda: stack.count_hearing() == len(MODULES), 60, "every process to hear it") < FLIP_SECONDS
