"""Rows in memory and on disk: the two forms of the sketches, older versions, growth, and what is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec import structs

from detection.accounts.step import AccountsStep
from detection.columns import EVENT
from detection.state import places
from detection.state.rows import ACCOUNT_ROW, ACCOUNT_ROW_V1, LOGGED, RowVersionError, upgrade_v1
from detection.state.store import RowStore, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from detection.columns import StructuredArray
    from detection.config import DetectionConfig

HOUR = 3_600_000


def values_of(step: AccountsStep) -> dict[bytes, bytes | None]:
    return {key: value for key, value in zip(*step.dirty(), strict=True) if key not in {b"forest", b"probes"}}


def as_version_1(values: list[bytes]) -> list[bytes]:
    """Write rows as the release before did."""
    rows = read_rows(values)
    old = np.zeros(len(rows), ACCOUNT_ROW_V1)
    for name in ACCOUNT_ROW.names or ():
        old[name] = rows[name]
    old["version"] = 1
    return [row.tobytes() for row in old]


def test_a_row_says_the_same_in_either_form(
    config: DetectionConfig, random_events: Callable[[int, int], StructuredArray]
) -> None:
    events = random_events(1, 40)
    events["account"] = 7
    # One account's row after each request: from a log at first, from registers later.
    step = AccountsStep(config, None, 0)
    for number in range(len(events)):
        step.apply(events[number : number + 1], np.array([number]))
        row = read_rows([value for value in values_of(step).values() if value is not None])[0]
        assert int(row["hours"].sum()) == number + 1 == int(row["requests"])
        seen = {int(one) for one in events["last_turn"][: number + 1]} - {0}
        assert np.count_nonzero(row["turns"]) == len(seen)


def test_a_small_account_takes_few_bytes(config: DetectionConfig) -> None:
    events = np.zeros(2 * LOGGED, EVENT)
    events["time"] = 1_760_000_000_000 + np.arange(2 * LOGGED)
    events["account"] = np.array([5] * (LOGGED + 1) + [6] * (LOGGED - 1))
    for name in ("last_turn", "response", "network", "organization"):
        events[name] = np.arange(2 * LOGGED) + 1
    step = AccountsStep(config, None, 0)
    step.apply(events, np.arange(len(events)))
    values = values_of(step)
    large, small = values[b"%016x" % 5], values[b"%016x" % 6]
    assert large is not None
    assert small is not None
    assert len(small) <= 400
    assert len(large) <= 400


def test_rows_of_version_1_are_read_and_counted_on(
    config: DetectionConfig, random_events: Callable[[int, int], StructuredArray]
) -> None:
    events = random_events(2, 120)
    whole, first = AccountsStep(config, None, 0), AccountsStep(config, None, 0)
    whole.apply(events, np.arange(120))
    first.apply(events[:60], np.arange(60))
    keys, kept = zip(*first.dirty(), strict=True), first.meta()
    rows = dict(keys)
    accounts = [key for key in rows if key not in {b"forest", b"probes"}]
    old = dict(zip(accounts, as_version_1([rows[key] or b"" for key in accounts]), strict=True))
    second = AccountsStep(config, None, 0)
    second.load_meta(kept)
    merged = {key: value for key, value in (rows | old).items() if value is not None}
    second.load(list(merged), list(merged.values()))
    second.apply(events, np.arange(120))
    expected = {key: value for key, value in values_of(whole).items() if value is not None}
    found = merged | {key: value for key, value in values_of(second).items() if value is not None}
    for key, value in expected.items():
        assert read_rows([found[key]]).tobytes() == read_rows([value]).tobytes()


def test_the_release_before_sees_that_a_row_is_newer(config: DetectionConfig) -> None:
    events = np.zeros(1, EVENT)
    events["account"] = 5
    step = AccountsStep(config, None, 0)
    step.apply(events, np.arange(1))
    (value,) = values_of(step).values()
    assert value is not None
    assert int.from_bytes(value[:4], "little") == 2  # Where version 1 looks, and says what it does not know.
    with pytest.raises(RowVersionError):
        upgrade_v1([value])


@pytest.mark.parametrize("wrong", [3, 99])
def test_unknown_versions_are_refused(wrong: int) -> None:
    with pytest.raises(RowVersionError, match=f"version {wrong}"):
        RowStore().load([wrong.to_bytes(4, "little") + bytes(12)])


def test_a_damaged_row_is_refused(config: DetectionConfig) -> None:
    events = np.zeros(1, EVENT)
    events["account"] = 5
    step = AccountsStep(config, None, 0)
    step.apply(events, np.arange(1))
    (value,) = values_of(step).values()
    assert value is not None
    for damaged in (value[:-8], value + bytes(8), value[:-3], value[:8]):
        with pytest.raises(RowVersionError):
            RowStore().load([damaged])


def test_growing_moves_no_row() -> None:
    store = RowStore()
    store.slots_of(np.arange(1, 11, dtype=np.uint64))
    before = store.arguments[2][0]
    store.slots_of(np.arange(1, 9 * places.FIRST, dtype=np.uint64))
    assert store.arguments[2][0] is before
    assert len(store) == 9 * places.FIRST - 1
    slots = store.slots_of(np.arange(1, 9 * places.FIRST, dtype=np.uint64))
    assert store.read(slots)["account"].tolist() == list(range(1, 9 * places.FIRST))


def test_what_is_idle_is_forgotten_and_what_comes_back_begins_anew(config: DetectionConfig) -> None:
    lane = structs.replace(config.accounts, idle_ms=HOUR)
    step = AccountsStep(structs.replace(config, accounts=lane), None, 0)
    events = np.zeros(14, EVENT)
    begin = 1_760_000_000_000
    events["account"] = [5] * 12 + [6, 5]
    events["time"] = [begin + 1000 * place for place in range(12)] + [begin + 2 * HOUR, begin + 4 * HOUR]
    step.apply(events[:12], np.arange(12))
    assert values_of(step)[b"%016x" % 5]
    step.apply(events[12:13], np.array([12]))
    changed = values_of(step)
    assert changed[b"%016x" % 5] is None
    assert changed[b"%016x" % 6]
    assert (step.accounts, step.forgotten) == (1, 1)
    step.apply(events[13:], np.array([13]))
    row = read_rows([value for value in values_of(step).values() if value])
    assert row["account"].tolist() == [5]
    assert (row["requests"].tolist(), row["first_seen"].tolist()) == ([1], [begin + 4 * HOUR])
    assert int(row["hours"].sum()) == 1


def test_no_more_accounts_are_kept_than_the_limit_and_the_oldest_go(config: DetectionConfig) -> None:
    lane = structs.replace(config.accounts, maximum_accounts=32)
    config = structs.replace(config, accounts=lane)
    events = np.zeros(400, EVENT)
    events["account"] = 1 + np.arange(400) // 4
    events["time"] = 1_760_000_000_000 + np.arange(400) * 1000
    whole, parts = AccountsStep(config, None, 0), AccountsStep(config, None, 0)
    whole.apply(events, np.arange(400))
    state: dict[bytes, bytes | None] = {}
    for start in range(0, 400, 7):
        parts.apply(events[start : start + 7], np.arange(start, min(start + 7, 400)))
        state |= values_of(parts)
    # After the last hop that closed, those of a hop and of the lateness came.
    assert 30 <= whole.accounts == parts.accounts <= 32 + 20
    assert {key for key, value in state.items() if value} == {key for key, value in values_of(whole).items() if value}
    kept = sorted(int(key, 16) for key, value in state.items() if value)
    assert kept == list(range(101 - len(kept), 101))
