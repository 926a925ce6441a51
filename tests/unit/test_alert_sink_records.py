"""Reading records of the alerts topic: what is stored, and what is poison and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.adapters.postgres.alert_store import Incoming
from services.adapters.postgres.cursors import decode_cursor, encode_cursor
from services.adapters.postgres.moments import EPOCH, format_moment, read_moment, to_unix_ms
from services.alert_sink.records import Rejected, read_record

ALERT = {
    "type": "alert.v1",
    "alert_id": "a1",
    "revision": 1,
    "kind": "alert",
    "lane": "pool",
    "subject_kind": "campaign",
    "subject": "c1",
    "event_time": "2026-03-01T08:00:00Z",
    "updated_time": "2026-03-01T09:00:00+01:00",
    "score": 0.9,
    "severity": "high",
    "confidence": 0.8,
    "title": "3 accounts share a template",
    "requests": 7,
    "contributions": [],
    "members": [{"account": "b1", "customer": "d1", "requests": 7, "strength": 0.5, "since": "2026-03-01T08:00:00Z"}],
    "findings": [],
    "config_version": "default-1",
}
MEMBER = {"account": "b1", "customer": "d1", "requests": 7, "strength": 0.5, "since": "yesterday"}


def test_a_record_keeps_its_exact_bytes_and_reads_its_moments() -> None:
    raw = msgspec.json.format(msgspec.json.encode(ALERT), indent=1)
    read = read_record(b"a1", raw)
    assert isinstance(read, Incoming)
    assert read.record == raw
    assert read.event_time == read.updated_time == datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("key", "change", "reason"),
    [
        (None, {}, "null_key"),
        (b"a2", {}, "key_mismatch"),
        (b"a1", {"event_time": "2026-03-01T08:00:00"}, "schema"),
        (b"a1", {"event_time": "yesterday"}, "schema"),
        (b"a1", {"event_time": "0001-01-01T00:00:00+14:00"}, "schema"),
        (b"a1", {"members": [MEMBER]}, "schema"),
        (b"a1", {"requests": 2**63}, "schema"),
        (b"a1", {"revision": -1}, "schema"),
        (b"a1", {"title": "a\0b"}, "schema"),
        (b"a1", {"severity": "grave"}, "schema"),
        (b"a1", {"type": "alert.v2"}, "unknown_version"),
    ],
)
def test_poison_is_named_without_a_value_of_the_record(
    key: bytes | None, change: dict[str, object], reason: str
) -> None:
    read = read_record(key, msgspec.json.encode(ALERT | change))
    assert isinstance(read, Rejected)
    assert read.reason == reason
    assert not any(str(value) in read.detail for value in change.values())


@pytest.mark.parametrize("value", [b"{", b"\xff", b'{"type":"alert.v1","alert_id":"a1'])
def test_what_is_not_json_is_said_to_be_none(value: bytes) -> None:
    assert read_record(b"a1", value) == Rejected("not_json", "the record is not JSON")


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(value: bytes) -> None:
    assert isinstance(read_record(b"a1", value), Rejected)


@given(st.datetimes(timezones=st.just(UTC)), st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_cursor_says_what_it_was_made_of(moment: datetime, row_id: str) -> None:
    number, read = decode_cursor(encode_cursor(moment, row_id))
    assert (EPOCH + timedelta(microseconds=number), read) == (moment, row_id)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_cursor_keeps_every_bit_of_a_number(number: float) -> None:
    assert decode_cursor(encode_cursor(number, "a")) == (number, "a")


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - the zone is given beside it
def test_moments_are_written_to_the_millisecond(moment: datetime) -> None:
    assert to_unix_ms(read_moment(format_moment(moment))) == to_unix_ms(moment)
