"""Processes of ours: started on a leash, recognised after a restart, ended in two steps.

A pid alone names nobody, for the kernel hands it out again; a `Process` carries the moment it started as well.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGKILL, Signals
from typing import IO, TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEASH = Path(__file__).with_name("leash.py")
POLL_SECONDS = 0.05
# Fields of /proc/PID/stat after the command's name: state is the first, the start time in clock ticks the twentieth.
STATE_FIELD = 0
START_FIELD = 19


class Process(msgspec.Struct, frozen=True):
    """One process for good.

    `started` tells it from a later one with the same pid (boot id and ticks on Linux, else `ps`).
    """

    pid: int
    started: str

    def alive(self) -> bool:
        """Say whether this very process still runs (a zombie does not)."""
        return bool(self.started) and start_mark(self.pid) == self.started


def start_mark(pid: int) -> str:
    """When the process started, as a text that only equals itself; empty when no such process runs."""
    if platform.system() == "Linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        fields = stat.rpartition(")")[2].split()
        return "" if fields[STATE_FIELD] in "ZX" else f"{boot}:{fields[START_FIELD]}"
    told = subprocess.run(  # noqa: S603  # the one argument is a number
        ["ps", "-o", "lstart=", "-p", str(pid)],  # noqa: S607  # the system keeps it where it pleases
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip()


def identify(pid: int) -> Process:
    """Name the process that has this pid now."""
    return Process(pid=pid, started=start_mark(pid))


def working_in(directory: Path) -> list[int]:
    """Pids of processes whose working directory is `directory`; empty where /proc is not there to tell."""
    wanted = os.path.realpath(directory)
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if str(link.readlink()) == wanted:
                found.append(int(link.parent.name))
        except OSError:  # It ended meanwhile, or belongs to somebody else.
            continue
    return found


@functools.cache
def _spawner() -> ThreadPoolExecutor:
    """Return the one thread that forks.

    It lives as long as this process, and a leash follows the thread that forked.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


def leashed(
    command: Sequence[str], *, death_signal: Signals = SIGKILL, flags: Sequence[str] = (), parent: int | None = None
) -> list[str]:
    """Return the command line that runs `command` on a leash held by this process, or by `parent`."""
    holder = str(os.getpid() if parent is None else parent)
    return [sys.executable, "-I", "-S", str(LEASH), holder, str(int(death_signal)), ",".join(flags) or "-", *command]


def spawn(
    command: Sequence[str],
    *,
    output: IO[bytes] | int,
    death_signal: Signals = SIGKILL,
    flags: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command on a leash, in a session of its own, both its outputs into `output`; safe from any thread."""
    line = leashed(command, death_signal=death_signal, flags=flags)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  # the caller's command, no shell
            line, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )

    return _spawner().submit(start).result()


def run(
    command: Sequence[str], *, flags: Sequence[str] = (), stdin: bytes = b"", timeout: float = 120.0
) -> tuple[int, str]:
    """Run a command on a leash to its end; returns its exit code and what it wrote (both outputs, in order)."""
    line = leashed(command, flags=flags)

    def start() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(  # noqa: S603  # the caller's command, no shell
            line, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False
        )

    done = _spawner().submit(start).result()
    return done.returncode, done.stdout.decode(errors="replace")


def wait_until_gone(process: Process, timeout: float) -> bool:
    """Wait for a process that need not be a child of ours; says whether it has gone."""
    deadline = time.monotonic() + timeout
    while process.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
