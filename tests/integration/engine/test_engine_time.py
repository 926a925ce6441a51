"""Silent partitions: control records move their time on, as the log alone tells."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

pytestmark = [pytest.mark.integration]


def _beats(trial: Any) -> list[Any]:
    return [record for record in trial.read(f"{trial.prefix}-in") if record.key is None]


def _wait_for_beats(trial: Any, partitions: set[int]) -> list[Any]:
    deadline = time.monotonic() + 40
    while True:
        beats = _beats(trial)
        if {beat.partition for beat in beats} == partitions:
            return beats
        assert time.monotonic() < deadline, trial.log_text()[-3000:]
        time.sleep(0.3)


def test_silent_and_empty_partitions_follow_a_paused_replay(make_trial: Callable[[str], Any]) -> None:
    trial = make_trial("paused")
    long_ago = 1_000_000_000_000
    trial.send(b"a", json.dumps({"t": long_ago, "x": 1}).encode(), partition=0)
    trial.send(b"b", json.dumps({"t": long_ago + 60_000, "x": 1}).encode(), partition=1)
    assert trial.producer.flush(10) == 0
    appended = max(record.timestamp for record in trial.read(f"{trial.prefix}-in"))
    trial.spawn()
    beats = _wait_for_beats(trial, {0, 1, 2, 3})
    trial.stop()
    for beat in beats:
        since = beat.timestamp - appended
        # The furthest partition's time, plus the wall time since; the writer's own delay is what is left open.
        assert 0 <= long_ago + 60_000 + since - json.loads(beat.value)["t"] < 2_000
    closed = {json.loads(record.value)[1] for record in trial.read(f"{trial.prefix}-out")}
    assert "a" in closed


def test_a_second_worker_knows_the_clocks_of_the_first(make_trial: Callable[[str], Any]) -> None:
    trial = make_trial("clocks")
    for number in range(3):
        trial.send(b"k%d" % number, json.dumps({"t": 5_000_000 + number, "x": 1}).encode(), partition=number)
    assert trial.producer.flush(10) == 0
    trial.spawn(0)
    trial.spawn(1)
    beats = _wait_for_beats(trial, {0, 1, 2, 3})
    trial.stop()
    assert min(json.loads(beat.value)["t"] for beat in beats) >= 5_000_000
    assert not [beat for beat in beats if json.loads(beat.value)["t"] > beat.timestamp]
