"""Ends of the formats that no recorded sample reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from schemas.columns import MAXIMUM_EVENT_BYTES
from services.gateway.formats import events, messages, otlp, sse, values
from services.gateway.formats.registry import Vendor, events_of
from services.gateway.identity import Identity
from services.gateway.parsed import RejectedRecord
from services.gateway.sketching import EventMaker

if TYPE_CHECKING:
    from services.gateway.parsed import ParsedRequest

MAKER = EventMaker(Identity(b"0123456789abcdef0123456789abcdef"))


def test_an_event_beyond_the_bound_is_refused_unread() -> None:
    with pytest.raises(RejectedRecord) as told:
        events.parse_event(b" " * (MAXIMUM_EVENT_BYTES + 1))
    assert told.value.reason == "too_large"


def test_an_answer_may_be_text_alone() -> None:
    turn, refused = messages.read_answer("a plain answer")
    assert turn is not None
    assert (turn.role, turn.text, refused) == ("assistant", "a plain answer", False)
    assert messages.read_answer("") == (None, False)


def test_a_stream_may_end_without_its_last_blank_line() -> None:
    assert list(sse.split_events(b": a comment\ndata: one\ndata: more\n\ndata: two")) == ["one\nmore", "two"]


def test_text_that_begins_like_json_and_is_none_stays_text() -> None:
    assert values.json_value("{not json") == "{not json"
    assert values.json_value('{"a": 1}') == {"a": 1}


def test_a_record_nested_beyond_reading_is_one_rejection_and_the_next_is_read() -> None:
    def deep(record: dict[str, Any]) -> ParsedRequest:
        def down() -> NoReturn:
            assert record
            down()

        down()

    made = list(events_of(Vendor(deep), [{"a": 1}, "text"], MAKER, "test"))
    assert [each.reason for each in made if isinstance(each, RejectedRecord)] == ["not_json", "not_an_object"]


def test_parts_that_are_bare_text_are_text_and_parts_that_are_nothing_are_passed_over() -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": ["one", "two"]}}]}
    turn, _ = messages.read_answer(body)
    assert turn is not None
    assert ("one" in turn.text, "two" in turn.text) == (True, True)
    assert list(values.objects_within([1, {"a": 2}, None])) == [{"a": 2}]
    alone = {"choices": [{"message": {"role": "assistant", "content": {"type": "text", "text": "solo"}}}]}
    turn, _ = messages.read_answer(alone)
    assert turn is not None
    assert turn.text == "solo"


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"kvlistValue": {"values": [{"key": "a", "value": {"intValue": "3"}}, 7]}}, {"a": 3}),
        ({"arrayValue": {"values": [{"stringValue": "x"}]}}, ["x"]),
        ({"arrayValue": {}}, []),
        ({"unheardOf": 1}, {"unheardOf": 1}),
    ],
)
def test_otlp_values_become_plain_ones(told: dict[str, Any], wanted: object) -> None:
    assert otlp._plain(told) == wanted
