"""The soak's verdict: a leak is told, a log that keeps more files and a heap that fills are none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tests.crash.soak import judge, sample

if TYPE_CHECKING:
    from pathlib import Path

MINUTES = 30


def samples(**slopes: float) -> list[dict[str, Any]]:
    """Give one process's figures, which move by so much a minute."""
    start = {"own_mb": 200.0, "descriptors": 60.0, "threads": 12.0, "log_files": 0.0}
    return [
        {
            "seconds": 60.0 * minute,
            "processes": {"one": {name: value + slopes.get(name, 0.0) * minute for name, value in start.items()}},
        }
        for minute in range(MINUTES + 1)
    ]


def test_memory_and_descriptors_that_go_on_growing_are_told() -> None:
    assert not judge(samples())["one"]["grows"]
    assert not judge(samples(own_mb=0.2))["one"]["grows"]
    assert judge(samples(own_mb=2.0))["one"]["grows"]
    assert judge(samples(descriptors=1.0))["one"]["grows"]
    assert judge(samples(own_mb=2.0))["one"]["own_mb"]["slope_an_hour"] == 120


def test_files_of_the_log_are_no_leak_and_a_heap_is_judged_by_its_limit() -> None:
    assert not judge(samples(log_files=5.0))["one"]["grows"]
    assert not judge(samples(own_mb=2.0), {"one": 448.0})["one"]["grows"]
    assert judge(samples(own_mb=20.0), {"one": 448.0})["one"]["grows"]
    assert judge(samples(descriptors=1.0), {"one": 448.0})["one"]["grows"]


def test_a_process_is_read_as_it_is(tmp_path: Path) -> None:

    before = sample({"me": os.getpid()})["me"]
    with (tmp_path / "00.log").open("w"), (tmp_path / "other").open("w"):
        after = sample({"me": os.getpid()})["me"]
    assert before["own_mb"] > 1
    assert after["log_files"] == before["log_files"] + 1
    assert after["descriptors"] == before["descriptors"] + 1
    assert sample({"gone": 2**22 + 1}) == {}
