"""The product as its users run it: `stillwatch up` in a directory of its own, and the command line beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from prometheus_client.parser import text_string_to_metric_families

from services.adapters.embedded import processes, state
from tests.acceptance.topics import end_offset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("STILLWATCH_SHARED_DATA", ROOT.parent / "shared" / "data"))
# Ids, and with them samples and alerts, follow from the key: with one key every run judges the same.
KEY = "a-key-for-acceptance-tests-and-nothing-else"
HOP_MS = 900_000
UP_SECONDS = 120.0


def tell(line: str) -> None:
    """Write a figure; pytest shows it with -s or -rA."""
    sys.stdout.write(f"{line}\n")


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> float:
    """Ask until it is so; gives how long that took, and fails with `what` when it takes too long."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.25)
    return time.monotonic() - began


class Product:
    """A base directory and its settings; `start` runs the whole product on it."""

    def __init__(self, folder: Path, *, partitions: int, arguments: Sequence[str] = ()) -> None:
        self.folder = folder
        self.arguments = arguments  # Of `up`.
        self.base_dir = folder / "base"
        self.base_dir.mkdir(parents=True)
        self.partitions = partitions
        self.told = folder / "up.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.ready_seconds = 0.0
        # Everything that any command wrote, for whoever looks for what must not be there.
        self.written: list[str] = []
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STILLWATCH_")}
        self.environment = {
            **inherited,
            "STILLWATCH_BASE_DIR": str(self.base_dir),
            "STILLWATCH_HMAC_KEY": KEY,
            "STILLWATCH_PARTITIONS": str(partitions),
        }

    def start(self) -> None:
        """Run `stillwatch up` and wait until it says that everything is ready."""
        with self.told.open("wb") as out:
            self.process = subprocess.Popen(
                self._line("up", *self.arguments),
                stdout=out,
                stderr=out,
                env=self.environment,
                cwd=ROOT,
                start_new_session=True,
            )
        process = self.process

        def ready() -> bool:
            assert process.poll() is None, self.said()
            return b"Everything is ready" in self.told.read_bytes()

        self.ready_seconds = wait_until(ready, UP_SECONDS, "everything is ready")
        tell(f"`stillwatch up` was ready in {self.ready_seconds:.1f} s, {self.partitions} partitions")

    def stop(self) -> None:
        """Press Ctrl-C: it drains, ends well, and leaves no process behind."""
        assert self.process is not None
        tree = self.living()
        assert len(tree) > 10, tree  # Else what follows would look for nothing.
        os.killpg(self.process.pid, signal.SIGINT)
        began = time.monotonic()
        assert self.process.wait(90) == 0, self.said()
        tell(f"Ctrl-C: {len(tree)} processes ended in {time.monotonic() - began:.1f} s")
        wait_until(lambda: not self.living(), 5, f"no process of {sorted(tree)} is left")

    def kill(self) -> None:
        """End what is left after a failure; the leashes take the rest along."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)

    def said(self) -> str:
        """Give the last lines of `up`, for a failure's message."""
        return self.told.read_bytes()[-6000:].decode(errors="replace")

    def living(self) -> set[int]:
        """Pids of processes that carry the base directory: in their environment, command line or working directory."""
        mark = str(self.base_dir).encode()
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                carried = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
                carried += b"\0" + bytes((entry / "cwd").readlink())
            except OSError:  # It ended meanwhile, or is another user's.
                continue
            if mark in carried and processes.start_mark(int(entry.name)):
                found.add(int(entry.name))
        return found

    def run(self, *arguments: str | Path, timeout: float = 900, code: int = 0) -> str:
        """Run a command of `stillwatch` to its end; gives its standard output."""
        done = subprocess.run(
            self._line(*arguments),
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        self.written += [done.stdout, done.stderr]
        assert done.returncode == code, f"{arguments}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def json(self, *arguments: str | Path, timeout: float = 900) -> Any:
        """Run a command with `--json` and read its answer."""
        return json.loads(self.run(*arguments, "--json", timeout=timeout))

    def import_accounts(self, lines: Iterable[bytes]) -> Any:
        """Tell it what is known of accounts, one record each."""
        path = self.folder / "accounts.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return self.json("accounts", "import", path)

    def begin(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a command whose output goes to a file of its own, and do not wait; `finish` does."""
        with (self.folder / f"{arguments[0]}.out").open("wb") as out:
            return subprocess.Popen(
                self._line(*arguments), stdout=out, env=self.environment, cwd=ROOT, stdin=subprocess.DEVNULL
            )

    def finish(self, command: subprocess.Popen[bytes], name: str, seconds: float) -> Any:
        """Wait for a command that `begin` started with `--json`; gives its answer."""
        assert command.wait(seconds) == 0, name
        answer = (self.folder / f"{name}.out").read_text(encoding="utf-8")
        self.written.append(answer)
        return json.loads(answer)

    def status(self) -> dict[str, dict[str, Any]]:
        """Give the parts by name, as `stillwatch status --json` tells them (whose code says whether all are ready)."""
        done = subprocess.run(
            self._line("status", "--json"), env=self.environment, cwd=ROOT, capture_output=True, check=False
        )
        assert done.returncode in {0, 3}, done.stderr
        return {part["part"]: part for part in json.loads(done.stdout)["parts"]}

    @property
    def kafka(self) -> str:
        """The broker's address."""
        return state.running_bootstrap_servers(self.base_dir)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the database."""
        url = state.running_database_url(self.base_dir).replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def gauge(self, part: str, name: str, **labels: str) -> list[float]:
        """Scrape a worker's samples of one metric that have these labels."""
        port = self.status()[part]["ports"]["metrics"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def wait_for_accounts(self, topic: str) -> None:
        """Wait until the accounts job has applied all that is on one of its topics."""

        def applied() -> bool:
            lags = self.gauge("accounts", "stillwatch_consumer_lag", topic=topic)
            return len(lags) == self.partitions and not any(lags)

        wait_until(applied, 120, f"the accounts job has applied {topic}")

    def wait_for_alerts(self, last_ms: int, seconds: float) -> float:
        """Wait until the hop of the last event is closed everywhere and its alerts are in Postgres; gives seconds."""
        wanted = (last_ms // HOP_MS + 1) * HOP_MS / 1000

        def closed() -> bool:
            return max(self.gauge("incidents", "stillwatch_closed_hop_time_seconds"), default=0) >= wanted

        def stored() -> bool:
            rows = self.rows("SELECT next_offset FROM sink_progress WHERE topic = 'alerts'")
            return bool(rows) and rows[0][0] >= end_offset(self.kafka, "alerts")

        took = wait_until(closed, seconds, "the incidents job has closed the last hop")
        return took + wait_until(stored, 60, "the sink has stored every alert")

    def _line(self, *arguments: str | Path) -> Sequence[str]:
        return [sys.executable, "-m", "services.cli.main", *map(str, arguments)]
