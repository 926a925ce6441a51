"""Nothing that a customer said or is called by leaves the gateway: canaries go in, and no byte of them comes out."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.headers import cloud_event_headers
from schemas.request_event import RequestEvent
from services.gateway.accounts import read_accounts
from services.gateway.identity import Identity
from services.gateway.sources import Format, RejectedLine, open_source

IDENTITY = Identity(b"0123456789abcdef0123456789abcdef")
SHARED = Path(os.environ.get("STILLWATCH_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
CANARIES = {
    "prompt": "zebrafishprompt",
    "system": "walrussystem",
    "response": "pelicanresponse",
    "tool": "ocelottool",
    "image": "https://canary.example/ibexpicture.png",
    "key": "sk-canarykeyquokka0123456789",
    "email": "okapi.person@canary.example",
    "user": "lemuruser",
    "organization": "tapirorganization",
    "team": "gibbonteam",
    "header": "narwhalheader",
    "agent": "sk-axolotlagent",
    "address": "203.0.113.77",
    "payment": "cardnumber4111111111111111",
    "error": "manateeerror",
    "model": "model said by jackal.model@canary.example",
    "bias": "31337",
    "id": "puffinrequestid",
    "reason": "a reason with a vole in it",
}


def openai_record() -> dict[str, Any]:
    call = {"id": CANARIES["id"], "type": "function", "function": {"name": CANARIES["tool"], "arguments": "{}"}}
    return {
        "id": CANARIES["id"],
        "api_key": CANARIES["key"],
        "user": CANARIES["user"],
        "organization": CANARIES["organization"],
        "client_address": CANARIES["address"],
        "user_agent": CANARIES["agent"],
        "headers": {"authorization": CANARIES["key"], "x-note": CANARIES["header"]},
        "started_at": 1_700_000_000,
        "ended_at": 1_700_000_001,
        "status": 200,
        "error": CANARIES["error"],
        "provider": CANARIES["email"],
        "request": {
            "model": CANARIES["model"],
            "user": CANARIES["email"],
            "metadata": {"note": CANARIES["header"]},
            "logit_bias": {CANARIES["bias"]: 5},
            "tools": [{"type": "function", "function": {"name": CANARIES["tool"]}}],
            "messages": [
                {"role": "system", "content": CANARIES["system"]},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": f"Tell me of {CANARIES['prompt']} step by step. " * 20},
                        {"type": "image_url", "image_url": {"url": CANARIES["image"]}},
                    ],
                },
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "content": CANARIES["tool"]},
            ],
        },
        "response": {
            "id": CANARIES["id"],
            "choices": [
                {
                    "finish_reason": CANARIES["reason"],
                    "message": {"content": CANARIES["response"], "tool_calls": [call]},
                }
            ],
        },
    }


def litellm_record() -> dict[str, Any]:
    pair = openai_record()
    return {
        "id": CANARIES["id"],
        "litellm_call_id": CANARIES["id"],
        "status": "failure",
        "startTime": 1_700_000_000,
        "model": CANARIES["model"],
        "custom_llm_provider": CANARIES["email"],
        "requester_ip_address": CANARIES["address"],
        "user_agent": CANARIES["agent"],
        "error_str": CANARIES["error"],
        "error_information": {"error_class": CANARIES["error"], "error_message": CANARIES["prompt"]},
        "metadata": {
            "user_api_key_hash": CANARIES["key"],
            "user_api_key_user_email": CANARIES["email"],
            "user_api_key_team_id": CANARIES["team"],
            "user_api_key_end_user_id": CANARIES["user"],
            "requester_custom_headers": {"x-note": CANARIES["header"]},
        },
        "model_parameters": {"logit_bias": {CANARIES["bias"]: 5}, "user": CANARIES["email"]},
        "messages": pair["request"]["messages"],
        "response": pair["response"],
    }


def outward(path: Path, format_name: Format) -> bytes:
    """Everything that replay hands to Kafka, a terminal or a log for this file."""
    pieces: list[bytes] = []
    for item in open_source(path, format_name, IDENTITY):
        if isinstance(item, RejectedLine):
            pieces.append(repr(item).encode())
            continue
        headers = cloud_event_headers(item.event_id, f"/gateway/{format_name}", "request.v1", item.time_unix_ms)
        pieces += [msgspec.json.encode(item), repr(item).encode(), repr(headers).encode(), item.account.encode()]
        if item.sketch is not None:
            pieces += [item.sketch.projection, item.sketch.segments, item.sketch.ladder, item.sketch.boundaries]
    return b"\n".join(pieces).lower()


def assert_hidden(data: bytes, words: list[str]) -> None:
    for word in words:
        for form in (word, word.upper(), word[::-1]):
            raw = form.encode().lower()
            assert raw not in data, word
            assert base64.b64encode(raw).rstrip(b"=").lower() not in data, word
            assert raw.hex().encode() not in data, word


@pytest.mark.parametrize(("format_name", "record"), [("openai", openai_record()), ("litellm", litellm_record())])
def test_no_canary_leaves_the_gateway(tmp_path: Path, format_name: Format, record: dict[str, Any]) -> None:
    path = tmp_path / "records.jsonl"
    broken = dict.fromkeys(("request", "metadata"), CANARIES["prompt"])
    no_time = {**record, "started_at": CANARIES["email"], "startTime": CANARIES["email"]}
    lines = [json.dumps(entry) for entry in (record, {**record, **broken}, no_time, [CANARIES["prompt"]])]
    path.write_text("\n".join([*lines, f"{{ {CANARIES['prompt']}"]), encoding="utf-8")
    items = list(open_source(path, format_name, IDENTITY))
    events = [item for item in items if isinstance(item, RequestEvent)]
    assert len(events) == 1
    assert len(items) == 5
    assert events[0].sketch is not None
    assert_hidden(outward(path, format_name), list(CANARIES.values()))


def test_what_holds_text_has_no_repr_of_it() -> None:
    from services.gateway.formats.openai import parse

    parsed = parse(openai_record())
    assert_hidden(repr((parsed, parsed.conversation, parsed.conversation.turns)).encode(), list(CANARIES.values()))
    assert_hidden(repr(IDENTITY).encode(), ["0123456789abcdef"])


def test_events_that_do_not_validate_are_told_without_their_values(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    prompt = CANARIES["prompt"]
    path.write_text(
        f'{{"type":"{prompt}"}}\n{{"type":"request.v1","{prompt}":1}}\n{{"type":"request.v1","account":"{prompt}"}}\n',
        encoding="utf-8",
    )
    rejects = list(open_source(path, "events", IDENTITY))
    assert len(rejects) == 3
    assert_hidden(outward(path, "events"), [prompt])


def test_account_attributes_hide_theirs(tmp_path: Path) -> None:
    path = tmp_path / "accounts.jsonl"
    record = {
        "account": CANARIES["key"],
        "organization": CANARIES["organization"],
        "payment": CANARIES["payment"],
        "signup_ip": CANARIES["address"],
        "created_at": 1_700_000_000,
    }
    path.write_text(
        json.dumps(record) + "\n" + json.dumps({**record, "created_at": CANARIES["email"]}), encoding="utf-8"
    )
    items = list(read_accounts(path, IDENTITY))
    assert [isinstance(item, RejectedLine) for item in items] == [False, True]
    assert_hidden(repr(items).encode() + b"".join(map(msgspec.json.encode, items)), list(CANARIES.values()))


@pytest.mark.parametrize("name", ["litellm_proxy_callback.jsonl", "litellm_generic_api_batch.json"])
def test_no_string_of_the_recorded_payloads_leaves(name: str) -> None:
    path = SHARED / "gateways" / name
    if not path.exists():
        pytest.skip("the recorded payloads are not beside the project; set STILLWATCH_SHARED_DATA")
    data = outward(path, "litellm")
    said = [
        "hello",
        "mocked answer",
        "litellm_proxy_master_key",
        "default_user_id",
        "end-user-7",
        "127.0.0.1",
        "No connected db",
    ]
    recorded = path.read_bytes()
    for word in (*said, "chatcmpl-", "0c307dfdfdc127f89d534e3b9113921adbfcee24fc057671e1ca9012bac36b73"):
        assert word.encode() in recorded
        assert word.lower().encode() not in data
