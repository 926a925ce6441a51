"""The normalise job on ports in memory, with the gateway's own formats: events, rejects, and no text anywhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from schemas.request_event import RequestEvent
from schemas.topics import RAW_LITELLM, RAW_OPENAI, REQUESTS
from services.cli.worker import normalisers
from services.gateway.identity import Identity
from services.telemetry.metrics import Metrics
from stream_jobs.faust_host.memory import MemoryBroker, MemoryLine, memory_ports
from stream_jobs.normalise.job import NormaliseJob, NormaliserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_jobs.normalise.job import NamedReject

PROMPT = "Please solve the quadratic equation with every step shown for the canary prompt"
IDENTITY = Identity(b"k" * 32, "acme", 3)


def litellm(user: str = "user-1", **changes: object) -> dict[str, object]:
    return {
        "id": "call-1",
        "model": "gpt-x",
        "startTime": 1_760_000_000.0,
        "endTime": 1_760_000_001.5,
        "prompt_tokens": 12,
        "completion_tokens": 34,
        "status": "success",
        "metadata": {"user_api_key_hash": user},
        "messages": [{"role": "user", "content": PROMPT}],
        "response": {"choices": [{"finish_reason": "stop", "message": {"content": "An answer"}}]},
    } | changes


def run(records: list[tuple[str, bytes | None]]) -> tuple[MemoryBroker, MemoryLine]:
    async def life() -> tuple[MemoryBroker, MemoryLine]:
        broker, line = MemoryBroker(append_ms=1_760_000_002_000), MemoryLine()
        job = NormaliseJob(memory_ports(broker, line, Metrics()), normalisers(IDENTITY))
        await job.open()
        for topic, value in records:
            await job.handle(broker.append(topic, None, value))
        assert line.finished == {}
        await job.tick()
        return broker, line

    return asyncio.run(life())


def events(broker: MemoryBroker) -> list[RequestEvent]:
    return [msgspec.json.decode(raw, type=RequestEvent) for raw in broker.values(REQUESTS)]


def test_events_carry_keyed_identifiers_and_no_text() -> None:
    broker, line = run([(RAW_LITELLM.name, msgspec.json.encode(litellm()))])
    (event,) = events(broker)
    (sent,) = broker.topics[REQUESTS.name]
    assert event.account == IDENTITY.account("user-1")
    assert sent.key == event.account.encode()
    assert (event.key_version, event.gen_ai_usage_output_tokens) == (3, 34)
    assert event.sketch is not None
    assert not any(word.encode() in (sent.value or b"") for word in ("quadratic", "user-1", "answer"))
    assert line.finished == {(RAW_LITELLM.name, 0): 1}


def test_a_record_may_hold_an_array_and_every_request_in_is_an_event_or_a_reject() -> None:
    batch = [litellm("a"), litellm(""), "text", litellm("b", id="call-2")]
    broker, line = run([(RAW_LITELLM.name, msgspec.json.encode(batch)), (RAW_LITELLM.name, b"{broken")])
    assert [each.account for each in events(broker)] == [IDENTITY.account("a"), IDENTITY.account("b")]
    assert [(record.offset, reason) for record, reason, _, _ in line.rejected] == [
        (0, "null_key"),
        (0, "schema"),
        (1, "not_json"),
    ]
    assert {schema for _, _, _, schema in line.rejected} == {"litellm"}
    assert not any(PROMPT in detail for _, _, detail, _ in line.rejected)


def test_requests_without_an_id_get_the_same_event_id_when_they_come_again() -> None:
    pair = {
        "request": {"model": "m", "messages": [{"role": "user", "content": PROMPT}]},
        "response": {"choices": []},
        "api_key": "sk-canary",
        "time": 1_760_000_000.0,
    }
    first, second = (run([(RAW_OPENAI.name, msgspec.json.encode(pair))] * 2) for _ in range(2))
    assert [each.event_id for each in events(first[0])] == [each.event_id for each in events(second[0])]


def test_an_empty_record_is_a_dead_letter() -> None:
    _, line = run([(RAW_OPENAI.name, None), (RAW_OPENAI.name, b"")])
    assert [reason for _, reason, _, _ in line.rejected] == ["empty", "empty"]


def test_a_normaliser_that_raises_is_told_by_class_and_place_without_its_words() -> None:
    class Faulty:
        schema = "faulty"

        def __call__(self, raw: bytes, place: str) -> Sequence[RequestEvent | NamedReject]:
            raise KeyError(place, raw.decode())

    async def life() -> None:
        broker = MemoryBroker()
        job = NormaliseJob(memory_ports(broker, MemoryLine(), Metrics()), {RAW_OPENAI.name: Faulty()})
        await job.handle(broker.append(RAW_OPENAI.name, None, PROMPT.encode()))

    with pytest.raises(NormaliserError, match=r"^KeyError at requests\.raw\.openai\.0\.0$") as caught:
        asyncio.run(life())
    # Neither the cause nor the context carries the words on.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
