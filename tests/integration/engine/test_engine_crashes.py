"""Exactly once, while workers die, stop, wake and hand over: against an oracle that reads the source log by hand."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from typing import Any

pytestmark = [pytest.mark.integration]
EXACT = {"lost": 0, "extra": 0, "duplicates": 0, "wrong_rows": 0}
POINTS = ("begin", "rows", "before_flush", "before_offsets", "before_commit", "after_commit", "recovery")


class Load:
    """Writes records at a steady rate, a part of them out of order."""

    def __init__(self, trial: Any, seed: int) -> None:
        self.trial = trial
        self.dice = random.Random(seed)  # noqa: S311 - a trial must be repeatable
        self.sent = 0
        for place in range(0, 200, 3):
            trial.send(b"key-%d" % place, b'{"weight": 3}', topic="attributes")
        assert trial.producer.flush(30) == 0

    def run(self, seconds: float, rate: int = 1_000) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(rate // 50):
                key = b"key-%d" % min(self.dice.randrange(200), self.dice.randrange(200))
                late = self.dice.randrange(400) if self.dice.random() < 0.1 else 0
                body = {"t": 10**6 + self.sent * 5 - late, "x": self.sent}
                self.trial.send(key, json.dumps(body).encode())
                self.sent += 1
            time.sleep(0.02)


def _check(trial: Any) -> None:
    trial.finish()
    verdict = trial.verdict()
    assert verdict.pop("outputs") > 50
    assert verdict == EXACT


def _wait_exit(worker: subprocess.Popen[bytes], load: Load, seconds: float = 60) -> int:
    end = time.monotonic() + seconds
    while worker.poll() is None:
        assert time.monotonic() < end, load.trial.log_text()[-4000:]
        load.run(0.2)
    return int(worker.returncode)


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


def _at_once(scenario: Callable[[str], None], points: tuple[str, ...]) -> None:
    """Trials wait most of their time, for sessions to end: run them beside each other."""
    with ThreadPoolExecutor(len(points)) as pool:
        for answer in [pool.submit(scenario, point) for point in points]:
            answer.result()


def test_dies_at_each_point_of_a_checkpoint(make_trial: Callable[[str], Any]) -> None:
    def scenario(point: str) -> None:
        trial = make_trial(point)
        load = Load(trial, 1)
        load.run(0.3)
        assert _wait_exit(trial.spawn(FAULT=f"kill:{point}"), load) == -signal.SIGKILL
        trial.spawn()
        load.run(0.3)
        _check(trial)

    _at_once(scenario, POINTS)


def test_a_zombie_wakes_after_its_partitions_went(make_trial: Callable[[str], Any]) -> None:
    def scenario(point: str) -> None:
        trial = make_trial(point)
        load = Load(trial, 3)
        zombie = trial.spawn(0, FAULT=f"stop:{point}")
        end = time.monotonic() + 30
        while _state_of(zombie.pid) != "T":
            assert time.monotonic() < end, trial.log_text()[-3000:]
            load.run(0.1)
        heir = trial.spawn(1)
        load.run(9)  # The session ends after six seconds.
        os.kill(zombie.pid, signal.SIGCONT)
        assert _wait_exit(zombie, load) == 3
        del trial.workers[0]
        assert heir.poll() is None
        _check(trial)

    _at_once(scenario, ("before_flush", "before_offsets", "before_commit"))


def test_partitions_move_one_two_one(make_trial: Callable[[str], Any]) -> None:
    trial = make_trial("moves")
    load = Load(trial, 4)
    first = trial.spawn(0)
    load.run(2)
    second = trial.spawn(1)
    while "partitions.revoked" not in trial.log_text():
        load.run(0.5)
    second.terminate()
    load.run(1)
    assert second.wait(20) == 0
    del trial.workers[1]
    load.run(2)
    assert first.poll() is None
    _check(trial)


@pytest.mark.slow
def test_two_workers_die_and_stop_at_random(make_trial: Callable[[str], Any]) -> None:
    seed = int(os.environ.get("STILLWATCH_TRIAL_SEED", "7"))
    kills = int(os.environ.get("STILLWATCH_TRIAL_KILLS", "6"))
    dice = random.Random(seed)  # noqa: S311 - as above
    trial = make_trial(f"seed {seed}")
    load = Load(trial, seed)
    trial.spawn(0)
    trial.spawn(1)
    load.run(2)
    for _ in range(kills):
        load.run(dice.uniform(0.2, 4))
        victim = dice.choice(list(trial.workers.values()))
        if dice.random() < 0.2:
            victim.send_signal(signal.SIGSTOP)
            load.run(dice.uniform(0.5, 9))
            victim.send_signal(signal.SIGCONT)
        else:
            victim.kill()
            victim.wait()
        load.run(dice.uniform(0.0, 1.0))
        trial.supervise()
    assert set(trial.exits) <= {-signal.SIGKILL, 3}
    _check(trial)
