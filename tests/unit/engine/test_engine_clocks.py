from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_jobs.engine.clocks import PartitionClock, idle_time, read_clock

IDLE = 30_000
NOW = 1_800_000_000_000
LIVE = PartitionClock(NOW - 40_000, NOW - 40_000)


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        # A live partition, silent for 40 s: event time follows the wall clock.
        (LIVE, [], NOW),
        # Silent for less than the limit.
        (PartitionClock(NOW - 29_999, NOW - 29_999), [], None),
        # A replay of last year, paused 40 s ago, goes on from where it stopped: 40 s further.
        (PartitionClock(1_000_000, NOW - 40_000), [], 1_040_000),
        # The same replay goes on elsewhere: the silent partition follows the slowest of the others.
        (
            PartitionClock(1_000_000, NOW - 40_000),
            [PartitionClock(9_000_000, NOW), PartitionClock(8_000_000, NOW - 5)],
            8_000_000,
        ),
        # All are silent, this one for longer: it follows the furthest, for nothing is under way any more.
        (PartitionClock(1_000_000, NOW - 90_000), [PartitionClock(9_000_000, NOW - 31_000)], 9_031_000),
        # A partition that never had a record follows too, and waits where nobody had one.
        (None, [PartitionClock(9_000_000, NOW)], 9_000_000),
        (None, [PartitionClock(9_000_000, NOW - 31_000)], 9_031_000),
        (None, [], None),
        # Event times ahead of the wall clock are never followed beyond it.
        (PartitionClock(NOW + 200_000, NOW - 40_000), [], None),
        (None, [PartitionClock(NOW + 200_000, NOW)], NOW),
    ],
)
def test_idle_time(own: PartitionClock | None, others: list[PartitionClock], expected: int | None) -> None:
    assert idle_time(own, others, NOW, IDLE) == expected


clocks = st.builds(PartitionClock, st.integers(0, 2 * NOW), st.integers(NOW - 10**9, NOW + 1_000))


@given(st.none() | clocks, st.lists(clocks, max_size=4))
def test_idle_time_never_goes_back_or_beyond_the_wall_clock(
    own: PartitionClock | None, others: list[PartitionClock]
) -> None:
    reached = idle_time(own, others, NOW, IDLE)
    if reached is not None:
        assert reached <= NOW
        assert own is None or reached > own.event_ms


@given(clocks)
def test_a_clock_travels_as_offset_metadata(clock: PartitionClock) -> None:
    assert read_clock(clock.text()) == clock


@pytest.mark.parametrize("text", [None, "", "12", "a,b", "1,", ",1", "-1,5"])
def test_other_metadata_is_no_clock(text: str | None) -> None:
    assert read_clock(text) is None
