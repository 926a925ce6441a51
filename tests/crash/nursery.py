"""A process that has loaded the product's modules and forks workers from itself: a start in a tenth of a second.

Trials start hundreds of workers, and to load River and NumPy anew costs each of them seconds of a core. What the forked
worker runs is the same module, from its first line. One thread, no client of Kafka in it: a fork of it is sound.
Workers die with the nursery, and the nursery with the process that made it: no worker outlives its trials.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final, NoReturn

ROOT: Final = Path(__file__).parents[2]
_PR_SET_PDEATHSIG: Final = 1
_POLL_SECONDS: Final = 0.03


class Worker:
    """A forked worker, with what a ``subprocess.Popen`` offers. ``returncode`` is None while it lives."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Ask whether it has ended."""
        if self.returncode is None:
            self.returncode = self._nursery.ask({"do": "poll", "pid": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            time.sleep(_POLL_SECONDS)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended: until it was asked for its end the pid is nobody else's."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """Starts workers; may be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            cwd=ROOT,
            text=True,
        )

    def start(self, arguments: list[str], environment: dict[str, str], log: Path) -> Worker:
        """Fork a worker that runs ``python -m`` with these arguments; both outputs go to the log."""
        order = {"do": "start", "arguments": arguments, "environment": environment, "log": str(log)}
        return Worker(self, self.ask(order))

    def ask(self, order: dict[str, Any]) -> Any:
        """Give an order and take its answer."""
        with self._lock:
            if self._process.stdin is None or self._process.stdout is None:
                raise ValueError("the nursery has no pipes")
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the nursery has ended")
        return json.loads(line)

    def close(self) -> None:
        """End it, and with it whatever it started."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _become(order: dict[str, Any], parent: int) -> NoReturn:
    _die_with(parent)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["environment"])
    module, *rest = order["arguments"]
    sys.argv = [module, *rest]
    status = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does at the end of a script
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _serve() -> None:
    """Take orders from stdin until it ends. Loads everything that a worker needs, and starts nothing."""
    for module in (
        "stream_jobs.accounts.job",
        "stream_jobs.pools.job",
        "stream_jobs.engine.process",
        "tests.crash.faults",
    ):
        importlib.import_module(module)
    me = os.getpid()
    for line in sys.stdin:
        order = json.loads(line)
        answer: int | None
        if order["do"] == "start":
            answer = os.fork()
            if not answer:
                _become(order, me)
        else:
            pid, status = os.waitpid(order["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _die_with(int(sys.argv[1]))
    _serve()
