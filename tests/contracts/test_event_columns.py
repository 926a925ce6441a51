"""Records on the wire against columns: every value is kept or named, and nothing of a bad record leaks."""

from __future__ import annotations

import json
import os

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.columns import Flag
from schemas.columns import MAXIMUM_EVENT_BYTES, decode_attributes, decode_events, decode_heartbeat, name_hash
from schemas.request_event import Heartbeat, RequestEvent, Sketch

CANARY = "canary-7f3a-secret"


def event(**changes: object) -> RequestEvent:
    fields: dict[str, object] = {
        "event_id": "e-1",
        "time_unix_ms": 1_795_318_678_021,
        "account": f"{0xABC:016x}",
        "gen_ai_request_model": "teacher",
    }
    return RequestEvent(**(fields | changes))  # type: ignore[arg-type]  # the table of fields is a plain dict


def encode(value: RequestEvent) -> bytes:
    return msgspec.json.encode(value)


def test_columns_carry_what_the_event_says() -> None:
    ladder = np.arange(1, 10, dtype="<u8").tobytes()
    sketch = Sketch(
        ladder=ladder,
        projection=bytes(range(32)),
        boundaries=np.array([7, 8], "<u8").tobytes(),
        last_turn=f"{5:016x}",
        response=f"{6:016x}",
        flags=int(Flag.REFUSAL),
    )
    values = [
        encode(event(sketch=sketch, organization=f"{0xD:016x}", gen_ai_usage_output_tokens=12, logprobs=True)),
        encode(event(error_type="401", tools_count=2, multi_turn=True)),
    ]
    columns = decode_events(values).columns
    assert columns["account"].tolist() == [0xABC, 0xABC]
    assert columns["organization"].tolist() == [0xD, 0]
    assert columns["system"].tolist() == [1, 0]
    assert columns["prefix"][0].tolist() == [2, 3, 4, 5]
    assert columns["suffix"][0].tolist() == [6, 7, 8, 9]
    assert columns["boundaries"][0].tolist() == [0, 0, 7, 8]
    assert columns["last_turn"].tolist() == [5, 0]
    assert columns["response"].tolist() == [6, 0]
    assert columns["projection"][0].tolist() == list(range(32))
    assert columns["flags"].tolist() == [
        Flag.REFUSAL | Flag.LOGPROBS,
        Flag.TEXT_UNAVAILABLE | Flag.ERROR | Flag.REJECTED | Flag.TOOLS | Flag.MULTI_TURN,
    ]


def test_settings_decide_the_configuration_and_identity_does_not() -> None:
    alike = [encode(event(event_id=name, account=f"{n:016x}")) for n, name in enumerate("ab", 1)]
    other = [encode(event(gen_ai_request_temperature=0.2)), encode(event(gen_ai_request_max_tokens=1))]
    keys = decode_events(alike + other).columns["configuration"]
    assert keys[0] == keys[1]
    assert len(set(keys.tolist())) == 3


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty"),
        (b"\xff\xfe", "not_json"),
        (b'{"type":"request.v1"', "not_json"),
        (b"[" * 5000, "schema"),
        (b'{"type":"request.v9"}', "unknown_version"),
        (b"null", "schema"),
        (encode(event()).replace(b'"e-1"', b"12"), "schema"),
        (encode(event()).replace(b'"teacher"', b'"' + CANARY.encode() * 40 + b'"'), "schema"),
        (encode(event()).replace(b'{"type"', b'{"' + CANARY.encode() + b'":1,"type"'), "schema"),
        (encode(event()).replace(f"{0xABC:016x}".encode(), CANARY.encode()), "schema"),
        (encode(event()).replace(b"1795318678021", b"-5"), "schema"),
        (encode(event()).replace(b"1795318678021", b"1e400"), "schema"),
        (encode(event()).replace(b"1795318678021", b"9" * 30), "schema"),
        (encode(event(sketch=Sketch(ladder=bytes(71), projection=bytes(32)))), "bad_sketch"),
        (encode(event()) + b" " * MAXIMUM_EVENT_BYTES, "too_large"),
    ],
)
def test_a_bad_record_is_named_beside_good_ones(value: bytes, reason: str) -> None:
    good = encode(event())
    decoded = decode_events([good, value, good])
    assert decoded.kept.tolist() == [0, 2]
    assert [(reject.index, reject.reason) for reject in decoded.rejects] == [(1, reason)]
    assert CANARY not in decoded.rejects[0].detail


def test_a_record_that_holds_two_does_not_move_its_neighbours() -> None:
    first, second = encode(event(event_id="a")), encode(event(event_id="b"))
    decoded = decode_events([first + b"," + second, first[:-1], b"}"])
    assert decoded.kept.tolist() == []
    assert len(decoded.rejects) == 3


@given(st.lists(st.binary(max_size=60) | st.just(encode(event())), max_size=12))
def test_every_value_is_kept_or_named_once(values: list[bytes]) -> None:
    decoded = decode_events(values)
    assert sorted(decoded.kept.tolist() + [reject.index for reject in decoded.rejects]) == list(range(len(values)))
    assert len(decoded.columns) == len(decoded.kept)


def test_a_heartbeat_is_told_from_a_request() -> None:
    assert decode_heartbeat(msgspec.json.encode(Heartbeat(time_unix_ms=5))) == Heartbeat(time_unix_ms=5)
    assert decode_heartbeat(encode(event())) is None
    assert decode_heartbeat(os.urandom(9)) is None


def test_attributes_are_read_and_bad_ones_named() -> None:
    good = b'{"type":"account_attributes.v1","account":"%016x","created_at_unix_ms":7,"verified":true}' % 0xABC
    rows, kept, rejects = decode_attributes([good, b"{}", good.replace(b":7", b':"x"')])
    assert rows["account"].tolist() == [0xABC]
    assert rows["created_at"].tolist() == [7]
    assert kept.tolist() == [0]
    assert [reject.index for reject in rejects] == [1, 2]


IDENTIFIERS = ("account", "organization", "end_user", "client_address", "client_network", "logit_bias")
SKETCH_IDENTIFIERS = ("last_turn", "response")
NEARLY = (
    "",
    "0" * 16,
    "0123456789abcdef",
    "0123456789ABCDEF",
    "0123456789abcdef\n",
    "0123456789abcde\n",
    " 123456789abcdef",
    "01 23456789abcdef",
    "0123456789abcde",
    "0123456789abcdef0",
    "\uff10123456789abcde",
    "0123456789abcdeg",
)


@pytest.mark.parametrize("wrong", NEARLY)
@pytest.mark.parametrize("field", [*IDENTIFIERS, *SKETCH_IDENTIFIERS])
def test_identifiers_checked_as_columns_are_those_of_the_strict_type(field: str, wrong: str) -> None:
    sketch = {"ladder": "A" * 96, "projection": "A" * 43 + "="}
    body = json.loads(encode(event())) | {"sketch": sketch}
    (sketch if field in SKETCH_IDENTIFIERS else body)[field] = wrong
    value = json.dumps(body).encode()
    try:
        msgspec.json.decode(value, type=RequestEvent)
        valid = "\n" not in wrong
    except msgspec.ValidationError:
        valid = False
    neighbour = encode(event(account="00000000000000ff"))
    decoded = decode_events([neighbour, value, neighbour])
    assert decoded.kept.tolist() == ([0, 1, 2] if valid else [0, 2])
    assert {reject.index for reject in decoded.rejects} == (set() if valid else {1})
    assert decoded.columns["account"][[0, -1]].tolist() == [255, 255]


def test_two_wrong_identifiers_do_not_make_two_right_ones() -> None:
    body = json.loads(encode(event()))
    body |= {"organization": "0" * 15, "client_network": "0" * 17}
    decoded = decode_events([json.dumps(body).encode()])
    assert [reject.reason for reject in decoded.rejects] == ["schema"]


def test_equal_settings_have_equal_hashes_whichever_zero_came_first() -> None:
    zero, minus = (encode(event(gen_ai_request_temperature=value, client_family="z")) for value in (0.0, -0.0))
    name_hash.cache_clear()
    first = decode_events([minus]).columns["configuration"][0]
    name_hash.cache_clear()
    assert decode_events([zero]).columns["configuration"][0] == first
