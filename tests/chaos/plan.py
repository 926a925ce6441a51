"""What a row is: a number and a name out of the list, trials that really ran, and what they lost or doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT: Final = Path(__file__).parents[2]
TOLD_SECONDS: Final = 20.0


@dataclass
class Outcome:
    """What came of a row. ``lost`` and ``duplicated`` are None where a trial failed before it could count them.

    ``left_out`` names what could not run here, and why: it is not among the trials.
    """

    trials: int
    lost: int | None
    duplicated: int | None
    passed: bool
    left_out: list[str] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)


class Plan(NamedTuple):
    """How a row is to run: its seed, its length, a folder of its own, and a voice for its progress."""

    seed: int
    short: bool
    folder: Path
    say: Callable[[str], None]

    def choose(self, short: float, full: float) -> float:
        """Give the figure for this length."""
        return short if self.short else full


class Row(NamedTuple):
    """One row of the table. Several may share a number: they are parts of one point of the list.

    ``in_short`` is False where a row takes minutes however few its trials are.
    """

    number: int
    name: str
    run: Callable[[Plan], Outcome]
    in_short: bool = True


def run_child(plan: Plan, name: str, arguments: Sequence[str], **environment: str) -> tuple[int, str]:
    """Run a Python program to its end in a group of its own; gives its status and what it wrote.

    Tells its last line now and then. However this ends, the child's whole group ends with it.
    """
    log = plan.folder / f"{name}.log"
    plan.folder.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        told = time.monotonic()
        while child.poll() is None:
            time.sleep(0.2)
            if time.monotonic() - told > TOLD_SECONDS:
                told = time.monotonic()
                lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                plan.say(f"  {lines[-1][:150] if lines else 'no word yet'}")
    finally:
        if child.poll() is None:
            _end(child)
    return child.returncode, log.read_text(encoding="utf-8", errors="replace")


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask the child's group to end, which lets it end its brokers and workers; then make it end."""
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(10)
