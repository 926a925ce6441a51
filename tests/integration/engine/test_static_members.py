"""A static member that is replaced takes its partitions again, and the other worker keeps its own all the while."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.engine.test_engine_crashes import EXACT, Load

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.integration]
PARTITIONS = 4
# Longer than the whole test: had a partition to wait for a session's end, the test would see it.
STATIC = {"STATIC": "1", "SESSION_MS": "45000"}


def moves(log: str, event: str) -> list[list[int]]:
    """Give the partitions of each change that the log tells of."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line["partitions"] for line in lines if line["event"] == event and line["partitions"]]


def held(log: str) -> set[int]:
    """Give what a worker held last."""
    now: set[int] = set()
    for line in log.splitlines():
        if line.startswith("{") and (told := json.loads(line))["event"] in {
            "partitions.assigned",
            "partitions.revoked",
        }:
            here = set(told["partitions"])
            now = now | here if told["event"] == "partitions.assigned" else now - here
    return now


def wait(load: Load, done: Callable[[], bool], seconds: float = 30.0) -> float:
    """Send on until it is so; gives how long that took."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, load.trial.log_text()[-4000:]
        load.run(0.2)
    return time.monotonic() - began


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_replaced_worker_takes_its_place_and_no_other_partition_moves(
    make_trial: Callable[[str], Any], how: signal.Signals
) -> None:
    trial = make_trial(f"static{how.value}")
    load = Load(trial, 7)
    trial.spawn(0, **STATIC)
    trial.spawn(1, **STATIC)
    wait(load, lambda: all(len(held(trial.log_of(index))) == PARTITIONS // 2 for index in (0, 1)))
    other, mine = trial.log_of(0), held(trial.log_of(1))
    trial.workers[1].send_signal(how)
    trial.workers[1].wait(30)
    load.run(1)
    replaced = trial.spawn(1, **STATIC)
    wait(load, lambda: held(trial.log_of(1)) == mine)
    load.run(1)
    told = trial.log_of(0).removeprefix(other)
    assert moves(told, "partitions.revoked") == []
    assert moves(told, "partitions.assigned") == []
    assert replaced.poll() is None
    trial.finish(**STATIC)
    verdict = trial.verdict()
    assert verdict.pop("outputs") > 20
    assert verdict == EXACT
