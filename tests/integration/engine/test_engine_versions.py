"""Rows of version N to N + 1 and back, one worker after the other, under load: nothing is lost or counted twice.

The rule that makes it possible is told in ``stream_jobs.engine.job``: a release that changes rows reads both forms and
writes the old one, until every worker of the job is of that release; only then is it told to write the new one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.engine.test_engine_crashes import EXACT, Load

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
OLD = {"ROWS_READ": "1", "ROWS_WRITTEN": "1"}
CAREFUL = {"ROWS_READ": "2", "ROWS_WRITTEN": "1"}
NEW = {"ROWS_READ": "2", "ROWS_WRITTEN": "2"}


def _replace(trial: Any, load: Any, index: int, release: dict[str, str], *, kill: bool = False) -> None:
    worker = trial.workers.pop(index)
    (worker.kill if kill else worker.terminate)()
    while worker.poll() is None:
        load.run(0.1)
    assert worker.returncode == (-9 if kill else 0), trial.log_text()[-3000:]
    trial.spawn(index, **release)
    _until(load, lambda: "partitions.assigned" in trial.log_of(index), trial)
    load.run(1.0)


def _until(load: Any, condition: Callable[[], bool], trial: Any) -> None:
    for _ in range(600):
        if condition():
            return
        load.run(0.2)
    raise AssertionError(trial.log_text()[-3000:])


def _versions(trial: Any) -> set[int]:
    newest = {record.key: record.value for record in trial.read(f"{trial.prefix}-state")}
    return {json.loads(value).get("v", 1) for key, value in newest.items() if key[:1] != b"\0" and value}


def test_workers_of_two_releases_change_the_rows_and_change_them_back(make_trial: Callable[[str], Any]) -> None:
    trial = make_trial("versions")
    load = Load(trial, 11)
    for index in (0, 1):
        trial.spawn(index, **OLD)
    for index in (0, 1):
        _until(load, lambda index=index: "partitions.assigned" in trial.log_of(index), trial)  # type: ignore[misc]  # defaults bind
    for step, release in enumerate((CAREFUL, NEW, CAREFUL, OLD)):
        for index in (0, 1):
            _replace(trial, load, index, release, kill=step == 1)
        if release is NEW:
            assert 2 in _versions(trial)
    assert set(trial.exits) == set()
    trial.finish(120)
    assert _versions(trial) == {1}
    verdict = trial.verdict()
    assert verdict.pop("outputs") > 50
    assert verdict == EXACT


def test_a_worker_that_cannot_read_a_row_stops_and_says_so(make_trial: Callable[[str], Any]) -> None:
    trial = make_trial("newer")
    load = Load(trial, 12)
    trial.spawn(0, **NEW)
    _until(load, lambda: "checkpoint.done" in trial.log_of(0), trial)
    trial.spawn(1, **OLD)
    _until(load, lambda: trial.workers[1].poll() is not None, trial)
    assert trial.workers.pop(1).returncode == 3
    assert "RowVersionError" in trial.log_of(1)
    trial.finish(120)
    verdict = trial.verdict()
    verdict.pop("outputs")
    assert verdict == EXACT
