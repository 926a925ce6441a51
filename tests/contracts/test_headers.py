"""CloudEvents on Kafka: what we send reads back, and structured events open."""

from __future__ import annotations

import json

import msgspec
import pytest

from detection.outcomes import Alert, SourceClosed
from schemas.account_attributes import AccountAttributes
from schemas.headers import (
    CloudEvent,
    binary_headers,
    cloud_event_headers,
    identity,
    is_structured,
    parse_headers,
    unwrap,
)
from schemas.records import RECORDS
from schemas.request_event import Heartbeat, RequestEvent

EVENT = RequestEvent(
    event_id="e-1", time_unix_ms=1_700_000_000_123, account="00000000000000aa", gen_ai_request_model="m"
)


def test_a_request_carries_its_id_type_and_time() -> None:
    headers = binary_headers(EVENT, "stillwatch/gateway", sent_ms=0)
    assert headers == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"e-1"),
        ("ce_source", b"stillwatch/gateway"),
        ("ce_type", b"ai.stillwatch.request.v1"),
        ("ce_time", b"2023-11-14T22:13:20.123Z"),
        ("content-type", b"application/json"),
    ]
    assert cloud_event_headers("e-1", "stillwatch/gateway", "request.v1", EVENT.time_unix_ms) == headers
    assert parse_headers(headers) == CloudEvent("e-1", "stillwatch/gateway", "request.v1", "2023-11-14T22:13:20.123Z")
    assert not is_structured(headers)


def test_a_record_without_a_time_takes_that_of_sending() -> None:
    headers = dict(binary_headers(SourceClosed(job="pools", partition=3, hop=9), "stillwatch/pools", sent_ms=0))
    assert headers["ce_time"] == b"1970-01-01T00:00:00.000Z"
    assert headers["ce_id"] == b"pools.3.9"


def test_every_record_kind_has_an_identity() -> None:
    from schemas.headers import _IDENTITY

    assert set(_IDENTITY) == {kind.struct for kind in RECORDS}


def test_the_id_tells_versions_of_a_fact_apart_and_repeats_for_the_same() -> None:
    first = AccountAttributes(account="00000000000000aa", verified=True)
    assert identity(first) == identity(AccountAttributes(account="00000000000000aa", verified=True))
    assert identity(first) != identity(AccountAttributes(account="00000000000000aa"))
    alert = Alert(
        alert_id="a1", revision=1, kind="alert", lane="pool", subject_kind="campaign", subject="s", event_time="t",
        updated_time="2026-01-01T00:00:00.000Z", score=1.0, severity="low", confidence=0.5, title="t", requests=1,
        contributions=[], members=[], findings=[], config_version="1",
    )  # fmt: skip
    assert identity(alert) == "a1.1"
    assert identity(msgspec.structs.replace(alert, revision=2)) == "a1.2"
    assert dict(binary_headers(alert, "s", 0))["ce_time"] == b"2026-01-01T00:00:00.000Z"
    assert identity(Heartbeat(time_unix_ms=5)) == "heartbeat.5"


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        [("content-type", b"application/json")],
        [("ce_specversion", b"0.3"), ("ce_id", b"1"), ("ce_source", b"s"), ("ce_type", b"t")],
        [("ce_specversion", b"1.0"), ("ce_source", b"s"), ("ce_type", b"t")],
        [("ce_specversion", b"1.0"), ("ce_id", b"\xff"), ("ce_source", b"s"), ("ce_type", b"t")],
        [("ce_specversion", b"1.0"), ("ce_id", None), ("ce_source", b"s"), ("ce_type", b"t")],
    ],
)
def test_plain_and_broken_headers_are_no_cloudevent(headers: list[tuple[str, bytes | str | None]] | None) -> None:
    assert parse_headers(headers) is None


def test_names_of_headers_are_read_without_case_and_foreign_types_as_they_came() -> None:
    headers: list[tuple[str, bytes | str | None]] = [
        ("CE_SpecVersion", "1.0"),
        ("CE_ID", b"1"),
        ("ce_source", b"s"),
        ("ce_type", b"com.example.thing"),
    ]
    assert parse_headers(headers) == CloudEvent("1", "s", "com.example.thing", "")


def test_a_structured_event_opens_to_its_data_byte_for_byte() -> None:
    data = msgspec.json.encode(EVENT)
    envelope = (
        b'{"specversion":"1.0","id":"e-1","source":"gw","type":"ai.stillwatch.request.v1","partitionkey":"x","data":'
        + data
        + b"}"
    )
    assert is_structured([("Content-Type", b"application/cloudevents+json; charset=UTF-8")])
    event, value = unwrap(envelope)
    assert event == CloudEvent("e-1", "gw", "request.v1", "")
    assert value == data
    assert msgspec.json.decode(value, type=RequestEvent) == EVENT


@pytest.mark.parametrize(
    "change", [{"specversion": "0.3"}, {"data": None, "id": 1}, {"source": None}], ids=["old", "id", "source"]
)
def test_what_is_no_cloudevent_is_refused(change: dict[str, object]) -> None:
    envelope = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {}} | change
    with pytest.raises(msgspec.ValidationError):
        unwrap(json.dumps(envelope).encode())


def test_an_event_without_data_and_bytes_that_are_not_json_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="no data"):
        unwrap(b'{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"AA=="}')
    with pytest.raises(msgspec.DecodeError):
        unwrap(b"\xff{")
