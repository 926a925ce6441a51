from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from stream_jobs.engine.clocks import PartitionClock
from stream_jobs.engine.errors import OffsetGapError, TooManyInvalidError
from stream_jobs.engine.invalid import WINDOW_RECORDS, InvalidLimit
from stream_jobs.engine.job import Batch, Output, Processed, Rejection, Source, TaskStatus
from stream_jobs.engine.partition import META_KEY, Partition
from stream_jobs.engine.recovery import NewestRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Recorder:
    """A task that remembers what it was given; values of b"bad" are rejected."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.loaded: dict[bytes, bytes] = {}
        self.told = b""
        self.behind = 0
        self.row_key = b"row"

    def load_meta(self, raw: bytes) -> None:
        assert not self.loaded, "the meta row comes first"
        self.told = raw

    def load(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        self.loaded = dict(zip(keys, values, strict=True))

    def resume(self, read: Mapping[str, int]) -> Mapping[str, int]:
        return {topic: offset - self.behind for topic, offset in read.items()}

    def process(self, batch: Batch) -> Processed:
        self.offsets += batch.offsets.tolist()
        rejections = [Rejection(i, "schema", "", "s.v1") for i, value in enumerate(batch.values) if value == b"bad"]
        accepted = len(batch) > len(rejections)
        return Processed(rejections, int(batch.offsets[-1]) * 10 if accepted else None)

    def take(self) -> list[Output]:
        return []

    def dirty(self) -> tuple[list[bytes], list[bytes | None]]:
        return [self.row_key], [b"value"]

    def meta(self) -> bytes:
        return b"task's own"

    def status(self) -> TaskStatus:
        return TaskStatus(0)


def batch(offsets: Sequence[int], value: bytes = b"good", topic: str = "in") -> Batch:
    count = len(offsets)
    times = np.array(offsets, np.int64) + 1_000
    return Batch(topic, 3, np.array(offsets, np.int64), times, [b"k"] * count, [value] * count)


PLAIN = Source("in")
GAPS = Source("in", gaps=True)


def test_records_are_applied_once_and_in_order() -> None:
    task = Recorder()
    partition = Partition(3, task, 0.5)
    for offsets in ([5, 6], [6, 7, 8], [5, 6], [9]):
        partition.apply(batch(offsets), PLAIN, timed=True)
    assert task.offsets == [5, 6, 7, 8, 9]
    assert partition.read == {"in": 10}
    assert partition.clock == PartitionClock(90, 1_009)


@pytest.mark.parametrize("offsets", [[2, 3], [1, 3], [1, 2, 4], [0, 2]])
def test_a_gap_stops_the_job_unless_the_source_may_have_some(offsets: list[int]) -> None:
    for source, raises in ((PLAIN, True), (GAPS, False)):
        task = Recorder()
        partition = Partition(3, task, 0.5)
        partition.apply(batch([0]), source, timed=False)
        if raises:
            with pytest.raises(OffsetGapError, match=r"in\[3\]"):
                partition.apply(batch(offsets), source, timed=False)
        else:
            partition.apply(batch(offsets), source, timed=False)
            assert task.offsets == sorted({0, *offsets})


def test_the_first_record_ever_may_have_any_offset() -> None:
    task = Recorder()
    Partition(3, task, 0.5).apply(batch([700, 701]), PLAIN, timed=False)
    assert task.offsets == [700, 701]


def test_the_meta_row_brings_everything_back() -> None:
    first = Partition(3, Recorder(), 0.5)
    first.apply(batch([4, 5]), PLAIN, timed=True)
    first.apply(batch([6], b"bad"), PLAIN, timed=True)
    keys, values = first.rows()
    assert keys == [b"row", META_KEY]
    task = Recorder()
    task.behind = 2
    again = Partition(3, task, 0.5)
    again.load({key: value for key, value in zip(keys, values, strict=True) if value is not None})
    assert (task.told, task.loaded) == (b"task's own", {b"row": b"value"})
    assert again.read == {"in": 5}, "the task asks for two records more"
    assert again.clock == PartitionClock(50, 1_005), "a rejected record moves no clock"
    assert (again.limit.seen, again.limit.rejected) == (3, 1)


def test_an_empty_state_topic_starts_afresh() -> None:
    task = Recorder()
    partition = Partition(3, task, 0.5)
    partition.load({})
    assert (partition.read, partition.clock, task.told) == ({}, None, b"")


def test_a_row_under_the_engines_key_is_a_bug() -> None:
    task = Recorder()
    task.row_key = META_KEY
    with pytest.raises(ValueError, match="engine's key"):
        Partition(3, task, 0.5).rows()


def test_letters_name_the_record_and_are_given_once() -> None:
    partition = Partition(3, Recorder(), 1.0)
    partition.apply(batch([4, 5], b"bad"), PLAIN, timed=False)
    letters = partition.take_letters("job")
    assert [
        (letter.topic, letter.partition, letter.offset, letter.size, letter.time_unix_ms) for letter in letters
    ] == [
        ("in", 3, 4, 3, 1_004),
        ("in", 3, 5, 3, 1_005),
    ]
    assert partition.take_letters("job") == []


def reject(count: int) -> list[Rejection]:
    return [Rejection(place, "schema", "", "s.v1") for place in range(count)]


def test_the_limit_needs_a_thousand_records() -> None:
    limit = InvalidLimit(0.5)
    limit.add(999, reject(999))
    with pytest.raises(TooManyInvalidError, match="1000 of the last 1000"):
        limit.add(1, reject(1))


def test_the_limit_forgets_good_times() -> None:
    limit = InvalidLimit(0.5)
    for _ in range(100):
        limit.add(WINDOW_RECORDS, [])
    with pytest.raises(TooManyInvalidError):
        limit.add(WINDOW_RECORDS, reject(WINDOW_RECORDS))


def test_a_ratio_of_one_lets_everything_pass() -> None:
    InvalidLimit(1.0).add(5_000, reject(5_000))


def test_the_newest_rows_are_what_compaction_would_leave() -> None:
    newest = NewestRows()
    keys: list[bytes | None] = [b"a", b"b", b"a", b"c", b"b"]
    values: list[bytes | None] = [b"1", b"2", b"3", b"4", None]
    for start, stop in ((0, 3), (3, 5)):
        part = batch(list(range(start, stop)), topic="state")
        newest.take(Batch("state", 3, part.offsets, part.timestamps, keys[start:stop], values[start:stop]))
    assert newest.rows == {3: {b"a": b"3", b"c": b"4"}}
    assert newest.records == 5
