"""`stillwatch up` with its real Kafka and Postgres and nothing else: how it starts, is seen, and dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from services.adapters.embedded import processes, state
from services.supervisor import status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

UP = """
import sys
from services.supervisor import parts
parts.TASKS = ()
parts.WORKERS = ()
from services.cli.main import main
main(["up", "--json", "--base-dir", sys.argv[1]])
"""


class Up:
    """A running `stillwatch up` of the two services."""

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir
        self.process = subprocess.Popen(
            [sys.executable, "-c", UP, str(base_dir)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        self.told: list[str] = []
        for line in self.process.stdout:
            self.told.append(line)
            if "Everything is ready" in line:
                break
        told = status.read(base_dir)
        assert told is not None, "".join(self.told)
        self.servers = [processes.identify(part.pid) for part in told.parts if part.pid is not None]
        assert len(self.servers) == 2

    def end(self, number: signal.Signals) -> int:
        assert self.process.stdout is not None
        os.killpg(self.process.pid, number)
        self.told += self.process.stdout.readlines()
        code = self.process.wait(30)
        self.process.stdout.close()
        return code


def stillwatch(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up") / "base"


@pytest.fixture
def up(base_dir: Path) -> Iterator[Up]:
    running = Up(base_dir)
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGKILL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_however_it_ends_no_process_stays(up: Up, number: signal.Signals, code: int) -> None:
    assert up.end(number) == code
    assert all(processes.wait_until_gone(server, 10) for server in up.servers)
    deadline = time.monotonic() + 10
    while left := processes.working_in(up.base_dir / "postgres" / "data"):
        assert time.monotonic() < deadline, f"sessions {left} of Postgres stayed"
        time.sleep(0.05)
    assert status.read(up.base_dir) is None


def test_another_terminal_sees_it_and_cannot_disturb_it(up: Up) -> None:
    base = str(up.base_dir)
    told = json.loads(stillwatch("status", "--json", "--base-dir", base).stdout)
    assert told["ready"] is True
    assert [part["part"] for part in told["parts"]] == ["kafka", "postgres"]
    assert told["kafka_bootstrap_servers"] == state.running_bootstrap_servers(up.base_dir)
    with psycopg.connect(state.running_database_url(up.base_dir).replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    for command in (("up",), ("reset", "--yes")):
        refused = stillwatch(*command, "--base-dir", base)
        assert (refused.returncode, "already runs" in refused.stderr) == (5, True)
    assert (up.base_dir / "postgres" / "complete.json").is_file()


def test_a_killed_server_comes_back_where_it_was(up: Up) -> None:
    servers, url = state.running_bootstrap_servers(up.base_dir), state.running_database_url(up.base_dir)
    for server in up.servers:
        os.kill(server.pid, signal.SIGKILL)
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        told = status.read(up.base_dir)
        if told is not None and told.ready and all(part.restarts == 1 for part in told.parts):
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"they did not come back: {told}")
    assert state.running_bootstrap_servers(up.base_dir) == servers
    assert state.running_database_url(up.base_dir) == url


def test_half_written_data_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "kafka" / "data" / "leftover").mkdir(parents=True)
    refused = stillwatch("up", "--base-dir", str(tmp_path))
    assert refused.returncode == 1
    assert "half-written" in refused.stderr
    assert "stillwatch reset" in refused.stderr
    assert refused.stdout == ""
