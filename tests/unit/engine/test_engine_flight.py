"""A worker that ends tells what it did last; one that stands still is ended."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import pytest

from services.errors import StillwatchError
from stream_jobs.engine.flight import ENTRIES, KEPT, FlightRecorder
from stream_jobs.engine.health import WorkerHealth
from stream_jobs.engine.watchdog import EXIT_STUCK, Watchdog

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

CANARY = "a prompt that nobody may see"


class SteppedClock:
    """Time as the test says; each wall-clock question is a millisecond later, so that no two dumps have one name."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.wall = 1_700_000_000_000

    def now_ms(self) -> int:
        self.wall += 1
        return self.wall

    def monotonic(self) -> float:
        return self.seconds


def _dumped(folder: Path) -> Any:
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


def _look_up(key: str) -> None:
    raise KeyError(key)


def _fail() -> None:
    try:
        _look_up(CANARY)
    except KeyError as error:
        raise StillwatchError("the worker's own words") from error


def test_a_dump_holds_the_newest_entries_the_reason_and_every_thread(tmp_path: Path) -> None:
    clock = SteppedClock()
    recorder = FlightRecorder(tmp_path, "accounts", 3, clock)
    recorder.describe_by(lambda: {"lag": 7})
    for number in range(ENTRIES + 5):
        recorder.note("polled", records=number)
    clock.seconds += 2.5
    with pytest.raises(StillwatchError) as caught:
        _fail()
    assert recorder.dump("the worker cannot go on", caught.value) is not None
    told = _dumped(tmp_path)
    assert (told["job"], told["worker"], told["reason"]) == ("accounts", 3, "the worker cannot go on")
    assert [entry["records"] for entry in told["entries"]] == list(range(5, ENTRIES + 5))
    assert told["entries"][-1]["seconds_ago"] == 2.5
    assert told["held"] == {"lag": 7}
    assert told["error"]["message"] == "the worker's own words"
    assert any("_fail" in place for place in told["error"]["at"])
    assert told["error"]["cause"]["kind"] == "KeyError"
    assert any(name.startswith("MainThread") for name in told["threads"])


def test_words_of_foreign_errors_stay_out(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path, "pools", 0, SteppedClock())
    with pytest.raises(KeyError) as caught:
        _look_up(CANARY)
    recorder.dump("a bug", caught.value)
    text = next(tmp_path.glob("*.json")).read_text()
    assert CANARY not in text
    assert "KeyError" in text


def test_one_dump_a_process_and_a_bounded_number_in_the_folder(tmp_path: Path) -> None:
    clock = SteppedClock()
    for number in range(KEPT + 3):
        recorder = FlightRecorder(tmp_path, "accounts", number % 3, clock)
        assert recorder.dump("first") is not None
        assert recorder.dump("second") is None
    stamps = sorted(int(path.stem.rpartition("-")[2]) for path in tmp_path.glob("*.json"))
    assert len(stamps) == KEPT
    assert stamps[-1] == clock.wall


def test_what_cannot_be_described_or_written_hides_no_reason(tmp_path: Path) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError(CANARY)

    recorder = FlightRecorder(tmp_path / "flight", "accounts", 0, SteppedClock())
    recorder.describe_by(broken)
    assert recorder.dump("a bug") is not None
    assert _dumped(tmp_path / "flight")["held"] == {"not_told": "RuntimeError"}
    blocked = tmp_path / "file"
    blocked.touch()
    assert FlightRecorder(blocked, "accounts", 0, SteppedClock()).dump("a bug") is None


class Watched:
    """A watchdog over a clock that the test moves; the watchdog's thread looks every few milliseconds of real time."""

    def __init__(self, folder: Path, stuck_seconds: float = 60.0) -> None:
        self.clock = SteppedClock()
        self.folder = folder
        self.statuses: list[int] = []
        self.ended = threading.Event()
        self.health = WorkerHealth(self.clock.monotonic)
        recorder = FlightRecorder(folder, "accounts", 0, self.clock)
        self.dog = Watchdog(stuck_seconds, self.health, recorder, self.clock, self._end, tick_seconds=0.005).start()

    def _end(self, status: int) -> None:
        self.statuses.append(status)
        self.ended.set()

    def advance(self, seconds: float, *, beating: bool) -> None:
        for _ in range(int(seconds)):
            self.clock.seconds += 1.0
            if beating:
                self.health.beat()
            time.sleep(0.02)


def test_a_loop_that_stands_still_is_ended_with_a_record(tmp_path: Path) -> None:
    watched = Watched(tmp_path, stuck_seconds=8.0)
    watched.advance(12, beating=True)
    assert watched.statuses == []
    for _ in range(100):  # A watchdog that is starved itself waits longer, and rightly so.
        watched.advance(1, beating=False)
        if watched.ended.is_set():
            break
    assert watched.statuses == [EXIT_STUCK]
    told = _dumped(tmp_path)
    assert "has not moved" in told["reason"]
    assert any("test_engine_flight.py" in place for places in told["threads"].values() for place in places)


def test_a_process_that_was_stopped_as_a_whole_is_not_stuck(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    time.sleep(0.1)
    watched.clock.seconds += 500  # SIGSTOP and SIGCONT: the watchdog itself did not look for so long either.
    time.sleep(0.2)
    assert watched.statuses == []
    watched.dog.stop()


def test_zero_seconds_watch_nothing(tmp_path: Path) -> None:
    watched = Watched(tmp_path, stuck_seconds=0.0)
    watched.advance(5, beating=False)
    assert watched.statuses == []
    assert not any(thread.name == "watchdog" for thread in threading.enumerate())
