"""Records of the accounts job's topics: every one is an event, a heartbeat, an attribute or a named rejection."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from detection.config import Clocking
from schemas.account_attributes import AccountAttributes
from schemas.columns import MAXIMUM_EVENT_BYTES
from schemas.request_event import Heartbeat, RequestEvent
from stream_jobs.accounts.reading import read_attributes, read_requests
from stream_jobs.engine.job import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

APPENDED = 1_795_000_000_000
CLOCKING = Clocking()
KEY = b"00000000000000aa"
CANARY = "words of a prompt"


def event(time: int = APPENDED, account: str = KEY.decode()) -> bytes:
    return msgspec.json.encode(RequestEvent(event_id="e", time_unix_ms=time, account=account, gen_ai_request_model="m"))


def heartbeat(time: int = APPENDED) -> bytes:
    return msgspec.json.encode(Heartbeat(time_unix_ms=time))


def batch(records: Sequence[tuple[bytes | None, bytes | None]], topic: str = "requests") -> Batch:
    count = len(records)
    keys, values = zip(*records, strict=True)
    return Batch(topic, 0, np.arange(count) + 100, np.full(count, APPENDED), list(keys), list(values))


GOOD: tuple[bytes | None, bytes | None] = (KEY, event())
POISON: list[tuple[str, bytes | None, bytes | None, str]] = [
    ("no JSON", KEY, CANARY.encode(), "not_json"),
    ("truncated", KEY, event()[:-5], "not_json"),
    ("bad UTF-8", KEY, event().replace(b'"m"', b'"\xff\xfe"'), "not_json"),
    ("NaN", KEY, event().replace(b'"m"', b'"m","gen_ai_request_temperature":NaN'), "not_json"),
    ("deep nesting", KEY, b"[" * 40_000, "schema"),
    ("wrong type", KEY, event().replace(b'"m"', b"7"), "schema"),
    ("huge integer", KEY, event().replace(b'"m"', b'"m","duration_ms":' + b"9" * 400), "schema"),
    ("unknown field", KEY, event().replace(b'"m"', b'"m","prompt":"' + CANARY.encode() + b'"'), "schema"),
    ("unknown version", KEY, event().replace(b"request.v1", b"request.v9"), "unknown_version"),
    ("too large", KEY, event().replace(b'"m"', b'"' + b"a" * MAXIMUM_EVENT_BYTES + b'"'), "too_large"),
    ("empty", KEY, b"", "empty"),
    ("null value", KEY, None, "empty"),
    ("control characters", KEY, b"\x00\x01\x02", "not_json"),
    ("far future", KEY, event(APPENDED + CLOCKING.future_ms + 1), "time_in_future"),
    ("ancient", KEY, event(APPENDED - CLOCKING.past_ms - 1), "time_too_old"),
    ("null key", None, event(), "null_key"),
    ("null key and value", None, None, "null_key"),
    ("another key", b"00000000000000bb", event(), "key_mismatch"),
    ("key in upper case", b"00000000000000AA", event(), "key_mismatch"),
    ("empty key", b"", event(), "key_mismatch"),
    ("heartbeat of the far future", None, heartbeat(APPENDED + CLOCKING.future_ms + 1), "time_in_future"),
]


@pytest.mark.parametrize(("key", "value", "reason"), [row[1:] for row in POISON], ids=[row[0] for row in POISON])
def test_one_bad_record_is_named_and_its_neighbours_count(key: bytes | None, value: bytes | None, reason: str) -> None:
    found = read_requests(batch([GOOD, (key, value), GOOD]), CLOCKING)
    assert [(rejection.index, rejection.reason) for rejection in found.rejections] == [(1, reason)]
    assert found.offsets.tolist() == [100, 102]
    assert CANARY not in repr(found.rejections)


def test_all_kinds_at_once() -> None:
    dice = random.Random(3)  # noqa: S311 - a test must be repeatable
    rows = [(key, value, reason) for _, key, value, reason in POISON * 3] + [(*GOOD, "")] * 50
    dice.shuffle(rows)
    found = read_requests(batch([(key, value) for key, value, _ in rows]), CLOCKING)
    expected = {index: reason for index, (_, _, reason) in enumerate(rows) if reason}
    assert {rejection.index: rejection.reason for rejection in found.rejections} == expected
    assert len(found.rejections) == len(expected)
    assert found.offsets.tolist() == [100 + index for index in range(len(rows)) if index not in expected]


def test_keys_that_are_right_only_when_joined_are_wrong() -> None:
    first, second = "000000000000000a", "bb00000000000000"
    records = [(b"000000000000000", event(account=first)), (b"abb00000000000000", event(account=second))]
    found = read_requests(batch(records), CLOCKING)
    assert [rejection.reason for rejection in found.rejections] == ["key_mismatch"] * 2


def test_heartbeats_come_between_the_events_around_them() -> None:
    records = [GOOD, (None, heartbeat(APPENDED + 1)), (None, heartbeat(APPENDED + 2)), GOOD, GOOD, (None, heartbeat(5))]
    found = read_requests(batch(records), CLOCKING)
    pieces = [(offsets.tolist(), beat) for _, offsets, beat in found.pieces()]
    assert pieces == [
        ([100], (APPENDED + 1, 101)),
        ([], (APPENDED + 2, 102)),
        ([103, 104], (5, 105)),
        ([], None),
    ]
    assert found.event_time() == APPENDED + 2


def test_a_batch_of_heartbeats_alone() -> None:
    found = read_requests(batch([(None, heartbeat(7))]), CLOCKING)
    assert (len(found.events), found.heartbeats, found.event_time()) == (0, [(7, 100)], 7)


def test_attributes_are_read_by_offset_and_deletions_pass() -> None:
    good = msgspec.json.encode(AccountAttributes(account=KEY.decode(), verified=True))
    records = [(KEY, good), (KEY, None), (b"x", good), (None, good), (KEY, b"rubbish"), (KEY, good)]
    rows, offsets, rejections = read_attributes(batch(records, "account-attributes"))
    assert offsets.tolist() == [100, 105]
    assert rows["account"].tolist() == [0xAA, 0xAA]
    assert sorted((rejection.index, rejection.reason) for rejection in rejections) == [
        (2, "key_mismatch"),
        (3, "null_key"),
        (4, "not_json"),
    ]


def test_deletions_alone_leave_nothing() -> None:
    rows, offsets, rejections = read_attributes(batch([(KEY, None)], "account-attributes"))
    assert (len(rows), len(offsets), rejections) == (0, 0, [])
