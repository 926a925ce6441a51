"""Records that no task can count: named in the dead letters, in the same transaction, and limited."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

pytestmark = [pytest.mark.integration]


def test_invalid_records_become_letters_and_the_rest_counts(make_trial: Callable[[str], Any]) -> None:
    trial = make_trial("letters")
    trial.spawn()
    for place in range(600):
        body = b"secret words" if place % 10 == 0 else json.dumps({"t": 10**6 + place * 20, "x": place}).encode()
        trial.send(b"key-%d" % (place % 7), body)
    trial.finish()
    verdict = trial.verdict()
    assert verdict.pop("outputs") > 20
    assert set(verdict.values()) == {0}
    letters = trial.letters()
    bad = {
        (record.partition, record.offset, len(record.value), record.timestamp)
        for record in trial.read(f"{trial.prefix}-in")
        if record.value == b"secret words"
    }
    assert {
        (letter["partition"], letter["offset"], letter["size"], letter["time_unix_ms"]) for letter in letters
    } == bad
    assert len(letters) == 60
    assert {letter["reason"] for letter in letters} == {"not_json"}
    assert "secret" not in json.dumps(letters) + trial.log_text()


def test_too_many_invalid_records_stop_the_job_and_stay_in_the_topic(make_trial: Callable[[str], Any]) -> None:
    trial = make_trial("limit")
    for place in range(500):
        trial.send(b"key-%d" % (place % 7), json.dumps({"t": 10**6 + place, "x": 1}).encode())
    for place in range(2_000):
        trial.send(b"key-%d" % (place % 7), b"rubbish")
    assert trial.producer.flush(10) == 0
    assert trial.spawn(0).wait(40) == 3
    assert trial.spawn(0).wait(40) == 3  # A restart does not drain it either.
    assert "TooManyInvalidError" in trial.log_text()
    assert "not_json" in trial.log_text()
    assert len(trial.letters()) < 1_000
    trial.spawn(0, RATIO="1.0")
    trial.finish(RATIO="1.0")
    assert len(trial.letters()) == 2_000
    verdict = trial.verdict()
    verdict.pop("outputs")
    assert set(verdict.values()) == {0}


def test_a_missing_topic_is_named(make_trial: Callable[[str], Any]) -> None:
    trial = make_trial("missing")
    trial.delete("state")
    worker = trial.spawn()
    deadline = time.monotonic() + 30
    while worker.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert worker.returncode == 3
    assert f"no topic {trial.prefix}-state" in trial.log_text()
