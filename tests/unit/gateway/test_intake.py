"""The HTTP intake takes vendors' batches, says honestly what became of them, and lets nobody else in."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.request_event import RequestEvent
from services.gateway.intake.app import IntakeApp
from services.gateway.publishing.counts import EVENTS, REJECTS
from tests.unit.gateway.doubles import Kept, ask, publisher

SAMPLES = Path(__file__).with_name("formats")
LOOPBACK = ("127.0.0.1", 1)


def send(
    body: bytes, path: str, *, token: str = "", maximum: int = 100, **more: Any
) -> tuple[int, dict[str, Any], Kept, Any]:
    kept = Kept()
    made = publisher(kept, maximum=maximum)
    app = IntakeApp(made, token)
    more.setdefault("headers", [])
    more.setdefault("client", LOOPBACK)
    sent = asyncio.run(ask(app, body, path=path, **more))
    made.stop()
    answer = json.loads(sent[1]["body"]) if sent[1]["body"].startswith(b"{") else {}
    return sent[0]["status"], answer, kept, made.counts


@pytest.mark.parametrize("name", ["kong", "apisix", "envoy", "otlp", "helicone", "jsonl", "openai", "litellm"])
def test_every_format_comes_in_as_its_golden_events(name: str) -> None:
    status, _, kept, counts = send((SAMPLES / f"{name}.jsonl").read_bytes(), f"/v1/intake/{name}")
    golden = json.loads((SAMPLES / f"{name}.golden.json").read_text(encoding="utf-8"))
    events = [each for each in golden if "rejected" not in each]
    assert status == 202
    assert counts.get(EVENTS, name) == len(events) == len(kept.records)
    assert counts.total(REJECTS) == len(golden) - len(events)
    for record, wanted in zip(kept.records, events, strict=True):
        found = json.loads(record.value)
        assert {**found, "event_id": ""} == {**wanted, "event_id": ""}
        assert record.key.decode() == found["account"]
        assert msgspec.json.decode(record.value, type=RequestEvent)


def test_a_batch_is_an_array_and_may_be_packed() -> None:
    records = [json.loads(line) for line in (SAMPLES / "jsonl.jsonl").read_text(encoding="utf-8").splitlines()]
    packed = gzip.compress(json.dumps(records[:2]).encode())
    status, _, kept, _ = send(packed, "/v1/intake/jsonl", headers=[(b"Content-Encoding", b"gzip")])
    assert (status, len(kept.records)) == (202, 2)


def test_otlp_has_its_own_path() -> None:
    status, answer, kept, _ = send((SAMPLES / "otlp.jsonl").read_bytes().splitlines()[0], "/v1/logs")
    assert (status, answer) == (200, {})
    assert len(kept.records) == 2


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/v1/intake/nobody", {}, 404),
        ("/", {}, 404),
        ("/v1/intake/kong", {"client": ("203.0.113.5", 1)}, 403),
        ("/v1/intake/kong", {"client": ("not an address", 1)}, 403),
        ("/v1/intake/kong", {"token": "t" * 40}, 401),
        ("/v1/intake/kong", {"token": "t" * 40, "headers": [(b"authorization", b"Bearer wrong")]}, 401),
        ("/v1/intake/kong", {"headers": [(b"content-encoding", b"br")]}, 415),
        ("/v1/intake/kong", {"headers": [(b"content-encoding", b"gzip")]}, 400),
        ("/v1/intake/kong", {"maximum": 0}, 429),
    ],
)
def test_what_cannot_be_taken_is_said(path: str, more: dict[str, Any], status: int) -> None:
    found, answer, kept, _ = send(b"{}", path, **more)
    assert found == answer["status"] == status
    assert kept.records == []


def test_a_token_lets_others_in() -> None:
    headers = [(b"authorization", b"Bearer " + b"t" * 40)]
    status, _, _, _ = send(b"{}", "/v1/intake/kong", token="t" * 40, headers=headers, client=("203.0.113.5", 1))
    assert status == 202


def test_the_counts_and_the_life_are_shown() -> None:
    async def story() -> list[dict[str, Any]]:
        app = IntakeApp(publisher(Kept()))
        sent: list[dict[str, Any]] = []
        life = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> dict[str, Any]:
            return life.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        for path in ("/livez", "/metrics"):
            await app({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
        await app({"type": "http", "method": "GET", "path": "/v1/intake/kong", "headers": []}, receive, send)
        await app({"type": "lifespan"}, receive, send)
        return sent

    sent = asyncio.run(story())
    assert [message["status"] for message in sent if "status" in message] == [200, 200, 405]
    assert sent[1]["body"] == b"live\n"
    assert [message["type"] for message in sent[-2:]] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
