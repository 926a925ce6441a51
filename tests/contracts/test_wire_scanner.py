"""The compiled scanner against the strict decoder: what it reads, the other reads alike; the rest it leaves."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detection.wire.fields import FIELDS, REQUIRED, SKETCH_FIELDS
from detection.wire.scanner import KNOWN, LEFT, READ, UNKNOWN, Scanner
from schemas.columns import decode_events, event_columns
from schemas.request_event import RequestEvent, Sketch

STRICT = msgspec.json.Decoder(RequestEvent)
HEX = st.integers(0, 2**64 - 1).map("{:016x}".format)
ABSENT_OR_HEX = st.just("") | HEX
NAMES = st.sampled_from(
    ["", "stop", "length", "401", "403", "gpt-5.2", "a b", 'quo"te', "back\\slash", "\u00fc", "x" * 128]
)
COUNTS = st.integers(0, 2**31 - 1) | st.integers(0, 12)
SKETCHES = st.builds(
    Sketch,
    ladder=st.binary(min_size=72, max_size=72),
    projection=st.binary(min_size=32, max_size=32),
    segments=st.binary(max_size=128),
    boundaries=st.integers(0, 4).flatmap(lambda many: st.binary(min_size=8 * many, max_size=8 * many)),
    last_turn=ABSENT_OR_HEX,
    response=ABSENT_OR_HEX,
    flags=st.integers(0, 255),
)
EVENTS = st.builds(
    RequestEvent,
    event_id=st.text(min_size=1, max_size=64),
    time_unix_ms=st.integers(0, 2**53 - 1),
    account=HEX,
    key_version=st.integers(0, 65_535),
    organization=ABSENT_OR_HEX,
    end_user=ABSENT_OR_HEX,
    gen_ai_request_model=NAMES,
    gen_ai_provider_name=NAMES,
    gen_ai_operation_name=NAMES,
    gen_ai_usage_input_tokens=COUNTS,
    gen_ai_usage_output_tokens=COUNTS,
    gen_ai_usage_reasoning_output_tokens=COUNTS,
    gen_ai_usage_cache_read_input_tokens=COUNTS,
    gen_ai_request_max_tokens=st.none() | COUNTS,
    gen_ai_request_temperature=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    gen_ai_request_top_p=st.none() | st.sampled_from([0.0, -0.0, 1.0, 0.95, 1e-9, 1e300]),
    gen_ai_request_choice_count=COUNTS,
    gen_ai_request_stream=st.booleans(),
    gen_ai_response_finish_reasons=st.lists(NAMES, max_size=16),
    time_to_first_chunk_ms=st.none() | COUNTS,
    duration_ms=COUNTS,
    error_type=NAMES,
    client_family=NAMES,
    client_address=ABSENT_OR_HEX,
    client_network=ABSENT_OR_HEX,
    logprobs=st.booleans(),
    logit_bias=ABSENT_OR_HEX,
    logit_bias_count=COUNTS,
    tools_count=COUNTS,
    multi_turn=st.booleans(),
    sketch=st.none() | SKETCHES,
)
# What may stand in place of a piece of a record: near to right in many ways.
PIECES = st.sampled_from(
    [b"", b" ", b",", b":", b'"', b"\\", b"{", b"}", b"[", b"]", b"0", b"00", b"-1", b"1.0", b"1e2", b"null", b"true",
     b"false", b"\xff", b"\x00", b"\n", b"=", b"==", b"A", b"Z", b"9" * 12, b'"flags":1,', b'"type":"request.v1",',
     b'"sketch":null,', b'"account":"00000000000000aa",', b'"n":1,']
)  # fmt: skip


def plain(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "event_id": "e-1", "time_unix_ms": 1_795_318_678_021, "account": "0000000000000abc", "gen_ai_request_model": "m"
    }  # fmt: skip
    return msgspec.json.encode(RequestEvent(**(fields | changes)))


def check(value: bytes) -> int:
    """Hold one record against the strict decoder, before and after it is remembered; give the last verdict."""
    scanner = Scanner()
    columns, verdicts = scanner.read([value])
    if verdicts[0] == LEFT:
        return LEFT
    try:
        strict = event_columns([STRICT.decode(value)])
    except msgspec.DecodeError:
        # A value among the settings, which only the strict decoder judges.
        assert verdicts[0] == UNKNOWN
        return LEFT
    assert verdicts[0] == UNKNOWN
    scanner.remember([value], strict, np.zeros(1, np.int64))
    columns, verdicts = scanner.read([b"{}", value, value[:-1]])
    assert verdicts.tolist() == [LEFT, READ, LEFT]
    assert columns[1] == strict[0]
    return READ


def test_the_scanner_knows_the_fields_of_the_contract_in_their_order() -> None:
    names = [field.encode_name for field in msgspec.structs.fields(RequestEvent)]
    assert [name for name, _, _ in FIELDS] == ["type", *names]
    assert [name for name, _, _ in SKETCH_FIELDS] == [field.encode_name for field in msgspec.structs.fields(Sketch)]
    assert set(REQUIRED) == {"type"} | {field.name for field in msgspec.structs.fields(RequestEvent) if field.required}


@given(EVENTS)
def test_what_gateways_write_is_read_alike(event: RequestEvent) -> None:
    check(msgspec.json.encode(event))


@given(EVENTS, st.data())
@settings(max_examples=600)
def test_what_is_nearly_right_is_read_alike_or_left(event: RequestEvent, data: st.DataObject) -> None:
    value = msgspec.json.encode(event)
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(value)))
        end = min(len(value), at + data.draw(st.integers(0, 3)))
        value = value[:at] + data.draw(PIECES) + value[end:]
    check(value)


@given(EVENTS, st.randoms(use_true_random=False), st.booleans())
def test_fields_may_come_in_any_order(event: RequestEvent, dice: Any, blanks: bool) -> None:
    body = json.loads(msgspec.json.encode(event))
    if body.get("sketch"):
        body["sketch"] = _shuffled(body["sketch"], dice)
    separators = (", ", ": ") if blanks else (",", ":")
    check(json.dumps(_shuffled(body, dice), separators=separators).encode())


def _shuffled(body: dict[str, Any], dice: Any) -> dict[str, Any]:
    items = list(body.items())
    dice.shuffle(items)
    return dict(items)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sketch": Sketch(ladder=bytes(range(72)), projection=bytes(range(32)), boundaries=b"12345678", flags=9)},
        {"sketch": Sketch(ladder=bytes(72), projection=bytes(32), segments=b"\xff" * 128, boundaries=b"\xfe" * 32)},
        {"gen_ai_response_finish_reasons": ["stop", "length"], "error_type": "403", "client_family": "curl"},
        {"gen_ai_request_temperature": 0.7, "gen_ai_request_top_p": 1e-9, "gen_ai_request_max_tokens": 4_096},
    ],
)
def test_the_usual_record_is_plain(changes: dict[str, Any]) -> None:
    assert check(plain(**changes)) == READ
    assert check(json.dumps(json.loads(plain(**changes))).encode()) == READ


@pytest.mark.parametrize(
    "value",
    [
        plain().replace(b'"e-1"', b'"e\\u002d1"'),
        plain().replace(b'"m"', b'"m","gen_ai_request_model":"n"'),
        plain().replace(b":1795318678021", b":01795318678021"),
        plain().replace(b":1795318678021", b":1795318678021.0"),
        plain().replace(b'"type"', b' "type"'),
        plain()[:-1] + b",}",
        plain()[:-1] + b" }",
        plain() + b" ",
        plain() + plain(),
        plain().replace(b'"m"', b'"' + b"m" * 129 + b'"'),
        plain().replace(b"0000000000000abc", b"0000000000000ABC"),
        plain().replace(b"request.v1", b"request.v2"),
        plain()[:-1] + b',"sketch":{}}',
        plain()[:-1] + b',"sketch":{"ladder":"' + b"A" * 96 + b'"}}',
        plain()[:-1] + b',"ladder":"' + b"A" * 96 + b'"}',
    ],
)
def test_what_is_not_plain_is_left(value: bytes) -> None:
    assert check(value) == LEFT


def test_base64_is_canonical_or_left() -> None:
    head = plain()[:-1] + b',"sketch":{"ladder":"' + b"A" * 96 + b'","projection":"'
    assert check(head + b"A" * 43 + b'="}}') == READ
    for wrong in (b"A" * 43, b"A" * 42 + b"B=", b"A" * 43 + b"==", b"A" * 44, b"A" * 42 + b"==", b"A" * 42 + b"-="):
        check(head + wrong + b'"}}')
        assert Scanner().read([head + wrong + b'"}}'])[1].tolist() == [LEFT]


@given(st.lists(EVENTS.map(msgspec.json.encode) | st.binary(max_size=40), max_size=8))
@example([plain(), b"", b"{", plain(gen_ai_request_model="n")])
def test_a_chunk_is_what_its_records_are(values: list[bytes]) -> None:
    for _ in range(2):  # The second time, settings are known.
        decoded = decode_events(values)
        assert sorted([*decoded.kept.tolist(), *(reject.index for reject in decoded.rejects)]) == list(
            range(len(values))
        )
        alone = [decode_events([values[place]]).columns.tobytes() for place in decoded.kept.tolist()]
        assert decoded.columns.tobytes() == b"".join(alone)


def test_made_up_settings_never_fill_the_memory_nor_change_a_hash() -> None:
    scanner = Scanner()
    values = [plain(gen_ai_request_model=f"model-{number}") for number in range(3 * KNOWN)]
    strict = event_columns([STRICT.decode(value) for value in values])
    for start in range(0, len(values), 500):
        scanner.remember(values, strict, np.arange(start, min(start + 500, len(values))))
        columns, verdicts = scanner.read(values)
        assert 0 < np.count_nonzero(verdicts == READ) <= KNOWN
        assert (columns[verdicts == READ] == strict[verdicts == READ]).all()
