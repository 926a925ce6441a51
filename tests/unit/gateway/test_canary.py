"""Marked words go in by every way into the gateway library, and none is in what it sends, spools, counts or logs."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from services.gateway.formats.registry import VENDORS
from services.gateway.intake.app import IntakeApp
from services.gateway.intake.batch import VendorBatch
from services.gateway.middleware import StillwatchMiddleware
from services.gateway.publishing.counts import Counts
from services.gateway.publishing.sending import Sender
from services.gateway.publishing.spool import open_spool
from tests.contracts.test_gateway_privacy import CANARIES, litellm_record, openai_record
from tests.unit.gateway.doubles import IDENTITY, KEY, Broker, Hands, ask, configuration, publisher

if TYPE_CHECKING:
    from pathlib import Path

WORDS = [*CANARIES.values(), KEY.decode()]


def forms(word: str) -> set[bytes]:
    raw = word.encode().lower()
    return {raw, raw[::-1], raw.hex().encode(), base64.b64encode(word.encode()).rstrip(b"=").lower()}


def assert_hidden(data: bytes) -> None:
    lowered = data.lower()
    assert forms("zebrafishprompt") <= forms(CANARIES["prompt"])
    for word in WORDS:
        for form in forms(word):
            assert form not in lowered, word


class Everything:
    """A publisher on a broker that goes away and comes back, and all that it wrote anywhere."""

    def __init__(self, folder: Path) -> None:
        self.broker, self.clock, self.counts = Broker(), Hands(), Counts()
        self.spool = folder / "spool"
        self.sender = Sender(self.broker.producer, open_spool(self.spool, 1 << 20), self.counts, self.clock, 3.0)
        self.publisher = publisher(self.sender)

    def wrote(self) -> bytes:
        spooled = [path.read_bytes() for path in self.spool.rglob("*") if path.is_file()]
        shown = self.publisher.counts.exposition() + self.counts.exposition() + repr(self.publisher)
        return b"\n".join([*self.broker.log, *spooled, shown.encode()])


def vendor_records() -> dict[str, dict[str, Any]]:
    """The marked request as each vendor tells it."""
    pair, lite = openai_record(), litellm_record()
    headers = {
        "authorization": f"Bearer {CANARIES['key']}",
        "user-agent": CANARIES["agent"],
        "x-note": CANARIES["header"],
    }
    bodies = {"request": json.dumps(pair["request"]), "response": json.dumps(pair["response"])}
    meta = {"request_model": CANARIES["model"], "provider_name": CANARIES["email"]}
    text = {
        "gen_ai.input.messages": json.dumps(pair["request"]["messages"]),
        "gen_ai.output.messages": CANARIES["response"],
        "gen_ai.request.model": CANARIES["model"],
        "gen_ai.response.finish_reasons": [CANARIES["reason"]],
        "user.id": CANARIES["email"],
        "client.address": CANARIES["address"],
        "error.type": CANARIES["error"],
    }
    return {
        "openai": pair,
        "litellm": lite,
        "kong": {
            "started_at": 1_700_000_000_000,
            "client_ip": CANARIES["address"],
            "request": {"id": CANARIES["id"], "headers": headers},
            "response": {"status": 200},
            "ai": {"proxy": {"meta": meta, "usage": {}, "payload": bodies}},
        },
        "apisix": {
            "start_time": 1_700_000_000_000,
            "client_ip": CANARIES["address"],
            "consumer": {"username": CANARIES["user"]},
            "request": {"headers": headers, "body": bodies["request"]},
            "llm_summary": {"request_model": CANARIES["model"]},
            "llm_request": pair["request"],
            "llm_response_text": {"content": CANARIES["response"]},
        },
        "envoy": {
            "start_time": "2026-01-01T00:00:00Z",
            "x-account-id": CANARIES["email"],
            "x-request-id": CANARIES["id"],
            "x-forwarded-for": CANARIES["address"],
            "user-agent": CANARIES["agent"],
            "gen_ai.request.model": CANARIES["model"],
            "response_code": CANARIES["error"],
        },
        "otlp": {"timestamp": "2026-01-01T00:00:00Z", "attributes": text},
        "helicone": {
            "request_created_at": "2026-01-01T00:00:00Z",
            "request_user_id": CANARIES["email"],
            "organization_id": CANARIES["organization"],
            "request_properties": {"note": CANARIES["header"], "client_address": CANARIES["address"]},
            "request_body": pair["request"],
            "response_body": pair["response"],
        },
        "jsonl": {
            "time": 1_700_000_000,
            "account": CANARIES["key"],
            "organization": CANARIES["organization"],
            "prompt": CANARIES["prompt"],
            "response": CANARIES["response"],
            "finish_reason": CANARIES["reason"],
            "model": CANARIES["model"],
        },
    }


def test_no_marked_word_leaves_by_the_middleware(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    case = Everything(tmp_path)
    case.broker.up = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"].startswith("/broken"):
            raise ValueError(CANARIES["error"])
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"x-secret", CANARIES["header"].encode())]}
        )
        await send({"type": "http.response.body", "body": json.dumps(openai_record()["response"]).encode()})

    class Failing:
        def start(self) -> None: ...
        def stop(self) -> None: ...
        def decide(self, asked: Any) -> None:
            raise ValueError(f"{CANARIES['key']} {asked}")

    middleware = StillwatchMiddleware(
        app, configuration(), publisher=case.publisher, identity=IDENTITY, clock=case.clock, enforcer=Failing()
    )
    headers = [
        (b"authorization", f"Bearer {CANARIES['key']}".encode()),
        (b"user-agent", CANARIES["agent"].encode()),
        (b"x-note", CANARIES["header"].encode()),
    ]
    body = json.dumps(openai_record()["request"]).encode()

    async def story() -> None:
        for data in (body, CANARIES["prompt"].encode(), json.dumps([CANARIES["prompt"]]).encode()):
            await ask(middleware, data, headers=headers, client=(CANARIES["address"], 1))
        with pytest.raises(ValueError, match=CANARIES["error"]):
            await ask(middleware, body, path="/broken/v1/chat/completions", headers=headers)

    asyncio.run(story())
    case.publisher.stop()
    spooled = sum(path.stat().st_size for path in case.spool.rglob("*.events"))
    assert spooled > 1000  # There is something to look through.
    assert_hidden(case.wrote() + caplog.text.encode())


@pytest.mark.parametrize("name", VENDORS)
def test_no_marked_word_leaves_by_the_intake(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    case = Everything(tmp_path)
    record = vendor_records()[name]
    broken = {
        **record,
        **dict.fromkeys(("started_at", "startTime", "start_time", "time", "timestamp"), CANARIES["email"]),
    }
    data = json.dumps([record, broken, CANARIES["prompt"], {CANARIES["prompt"]: 1}]).encode()
    sent = asyncio.run(ask(IntakeApp(case.publisher), data, path=f"/v1/intake/{name}", client=("127.0.0.1", 1)))
    refused = asyncio.run(ask(IntakeApp(case.publisher), data, path=f"/v1/intake/{CANARIES['email']}"))
    case.publisher.stop()
    assert sent[0]["status"] == 202
    assert len(case.broker.log) >= 1
    shown = json.dumps([message["body"].decode() for message in (*sent, *refused) if "body" in message])
    assert_hidden(case.wrote() + caplog.text.encode() + shown.encode() + repr(VendorBatch(name, data, "p")).encode())
