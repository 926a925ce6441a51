"""The middleware passes everything through as it is, and tells of it afterwards; nothing of its own reaches anybody."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from schemas.request_event import RequestEvent
from services.gateway.middleware import StillwatchMiddleware
from services.gateway.middleware.enforcing import Action, Asked, Refusal
from services.gateway.publishing.counts import DROPPED, ENFORCED, FAILURES, REJECTS
from tests.unit.gateway.doubles import IDENTITY, Hands, Kept, ask, configuration, only, publisher

if TYPE_CHECKING:
    from collections.abc import Callable

CHAT = {
    "model": "gpt-x",
    "temperature": 0.5,
    "messages": [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Tell me of the sea."}],
}
ANSWER = {
    "id": "chatcmpl-1",
    "model": "gpt-x",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "It is wide."}}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7},
}
JSON = [(b"content-type", b"application/json")]
STREAM = [(b"Content-Type", b"text/event-stream; charset=utf-8")]


def answering(
    chunks: list[bytes],
    headers: list[tuple[bytes, bytes]] = JSON,
    status: int = 200,
    seen: list[Any] | None = None,
    clock: Hands | None = None,
) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if seen is not None:
            seen.append((scope, body))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for place, chunk in enumerate(chunks):
            if clock is not None:
                clock.now += 0.5
            await send({"type": "http.response.body", "body": chunk, "more_body": place < len(chunks) - 1})

    return app


def watch(app: Any, body: Any, **more: Any) -> tuple[list[dict[str, Any]], list[RequestEvent], StillwatchMiddleware]:
    """Send one request through the middleware around ``app``; gives its messages and the events that were published."""
    kept = Kept()
    enforcer, clock = more.pop("enforcer", None), more.pop("clock", Hands())
    middleware = StillwatchMiddleware(
        app,
        configuration(**more.pop("settings", {})),
        publisher=publisher(kept, **more.pop("bounds", {})),
        identity=IDENTITY,
        enforcer=enforcer,
        clock=clock,
    )
    try:
        sent = asyncio.run(
            ask(middleware, body if isinstance(body, (bytes, list)) else json.dumps(body).encode(), **more)
        )
    finally:
        middleware.publisher.stop()
    events = [msgspec.json.decode(record.value, type=RequestEvent) for record in kept.records]
    assert kept.closed
    return sent, events, middleware


def test_a_chat_request_is_told_with_everything_but_its_words() -> None:
    app = answering([json.dumps(ANSWER).encode()])
    headers = [(b"authorization", b"Bearer sk-one"), (b"user-agent", b"OpenAI/Python 1.0"), (b"x-org", b"acme")]
    sent, events, _ = watch(app, CHAT, headers=headers, settings={"gateway_organization_header": "X-Org"})
    assert json.loads(sent[1]["body"]) == ANSWER
    event = only(events)
    assert event.account == IDENTITY.account("sk-one")
    assert event.organization == IDENTITY.identifier("organization", "acme")
    assert (event.client_address, event.client_network) == IDENTITY.places("203.0.113.9")
    assert (event.gen_ai_request_model, event.gen_ai_request_temperature) == ("gpt-x", 0.5)
    assert (event.gen_ai_usage_input_tokens, event.gen_ai_usage_output_tokens) == (11, 7)
    assert event.gen_ai_response_finish_reasons == ["stop"]
    assert event.client_family == "openai"
    assert event.sketch is not None
    assert event.sketch.response


def test_a_stream_is_handed_on_chunk_by_chunk_and_told_as_the_whole_answer_is() -> None:
    pieces = [
        {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "It is"}}]},
        {"id": "c", "choices": [{"index": 0, "delta": {"content": " wide."}, "finish_reason": "stop"}]},
        {"id": "c", "choices": [], "usage": ANSWER["usage"]},
    ]
    lines = [f"data: {json.dumps(piece)}\r\n\r\n".encode() for piece in pieces] + [b"data: [DONE]\n\n"]
    whole = b"".join(lines)
    cut = [whole[place : place + 37] for place in range(0, len(whole), 37)]  # Chunks end anywhere.
    clock = Hands()
    sent, events, _ = watch(answering(cut, STREAM, clock=clock), {**CHAT, "stream": True}, clock=clock)
    assert b"".join(message["body"] for message in sent[1:]) == whole
    _, unstreamed, _ = watch(answering([json.dumps(ANSWER).encode()]), CHAT)
    streamed, plain = only(events), only(unstreamed)
    assert streamed.gen_ai_request_stream
    assert (streamed.time_to_first_chunk_ms, streamed.duration_ms) == (500, 500 * len(cut))
    for name in ("sketch", "gen_ai_usage_output_tokens", "gen_ai_response_finish_reasons", "account"):
        assert getattr(streamed, name) == getattr(plain, name), name


def test_anthropic_messages_stream() -> None:
    started = {"id": "msg", "role": "assistant", "content": [], "model": "claude", "usage": {"input_tokens": 9}}
    events_sent: list[dict[str, Any]] = [
        {"type": "message_start", "message": started},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It is "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "wide."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
    chunks = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events_sent]
    body = {
        "model": "claude",
        "max_tokens": 100,
        "system": "Be terse.",
        "messages": CHAT["messages"][1:],
        "stream": True,
    }  # type: ignore[index]  # a list of two
    headers = [(b"x-api-key", b"sk-ant")]
    _, events, _ = watch(answering(chunks, STREAM), body, path="/v1/messages", headers=headers)
    event = only(events)
    assert event.account == IDENTITY.account("sk-ant")
    assert (event.gen_ai_usage_input_tokens, event.gen_ai_usage_output_tokens) == (9, 4)
    assert event.gen_ai_response_finish_reasons == ["stop"]
    _, plain, _ = watch(answering([json.dumps(ANSWER).encode()]), CHAT)
    assert event.sketch == only(plain).sketch


def test_embeddings_are_told_without_reading_vectors() -> None:
    answer = {"model": "e5", "data": [{"embedding": [0.1] * 2000}], "usage": {"prompt_tokens": 5, "total_tokens": 5}}
    _, events, _ = watch(
        answering([json.dumps(answer).encode()]), {"model": "e5", "input": "Some words"}, path="/v1/embeddings"
    )
    event = only(events)
    assert (event.gen_ai_operation_name, event.gen_ai_usage_input_tokens) == ("embeddings", 5)


def test_the_responses_api_streams_its_whole_body_last() -> None:
    whole = {
        "id": "resp",
        "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is wide."}]}
        ],
        "usage": {"input_tokens": 4, "output_tokens": 5},
    }
    lines = [
        b'event: x\ndata: {"type":"response.output_text.delta","delta":"It"}\n\n',
        f"data: {json.dumps({'type': 'response.completed', 'response': whole})}\n\n".encode(),
    ]
    _, events, _ = watch(
        answering(lines, STREAM), {"model": "o", "input": "Tell me of the sea.", "stream": True}, path="/v1/responses"
    )
    event = only(events)
    assert (event.gen_ai_usage_input_tokens, event.gen_ai_usage_output_tokens) == (4, 5)
    assert event.sketch is not None
    assert event.sketch.response


@pytest.mark.parametrize(("path", "method"), [("/health", "POST"), ("/v1/models", "POST")])
def test_other_paths_are_not_watched(path: str, method: str) -> None:
    sent, events, _ = watch(answering([b"ok"]), b"x", path=path)
    assert sent[1]["body"] == b"ok"
    assert events == []


def test_a_route_may_be_configured() -> None:
    settings = {"gateway_routes": (("/api/generate", "completions"),)}
    body = {"model": "m", "prompt": "Tell me of the sea."}
    _, events, _ = watch(answering([b"{}"]), body, path="/x/api/generate", settings=settings)
    assert only(events).gen_ai_operation_name == "text_completion"


def test_a_packed_body_is_read() -> None:
    packed = gzip.compress(json.dumps(ANSWER).encode())
    sent, events, _ = watch(answering([packed], [*JSON, (b"content-encoding", b"gzip")]), CHAT)
    assert sent[1]["body"] == packed
    assert only(events).gen_ai_usage_output_tokens == 7


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_what_is_no_request_is_passed_on_and_counted(body: bytes) -> None:
    seen: list[Any] = []
    sent, events, middleware = watch(answering([b"bad"], status=400, seen=seen), body)
    assert seen[0][1] == body
    assert sent[0]["status"] == 400
    assert events == []
    assert middleware.publisher.counts.total(REJECTS) == 1


def test_an_anonymous_request_is_counted_as_one() -> None:
    _, events, middleware = watch(answering([b"{}"]), CHAT, headers=[])
    assert events == []
    assert middleware.publisher.counts.get(REJECTS, "chat", "no_account") == 1


def test_an_applications_failure_is_its_own_and_is_told() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise RuntimeError("said the zebrafish")

    kept = Kept()
    middleware = StillwatchMiddleware(app, configuration(), publisher=publisher(kept), identity=IDENTITY, clock=Hands())
    with pytest.raises(RuntimeError, match="zebrafish"):
        asyncio.run(ask(middleware, json.dumps(CHAT).encode()))
    middleware.publisher.stop()
    event = msgspec.json.decode(kept.records[0].value, type=RequestEvent)
    assert event.error_type == "500"
    assert b"zebrafish" not in kept.records[0].value


def test_a_body_above_the_limit_is_passed_on_whole_and_told_without_text() -> None:
    seen: list[Any] = []
    body = json.dumps({**CHAT, "filler": "x" * 5000}).encode()
    sent, events, _ = watch(
        answering([json.dumps(ANSWER).encode()], seen=seen),
        [body[:3000], body[3000:]],
        settings={"gateway_body_bytes": 4000},
    )
    assert seen[0][1] == body
    assert sent[0]["status"] == 200
    assert only(events).sketch is None
    assert only(events).gen_ai_usage_output_tokens == 7


def test_a_full_buffer_drops_and_counts() -> None:
    sent, events, middleware = watch(answering([b"{}"]), CHAT, bounds={"maximum": 0})
    assert sent[0]["status"] == 200
    assert events == []
    assert middleware.publisher.counts.get(DROPPED, "buffer_full") == 1


class Enforcing:
    """An enforcer that answers what it is told to."""

    def __init__(self, answer: Callable[[Asked], Action | None]) -> None:
        self.answer = answer
        self.began = self.ended = False

    def start(self) -> None:
        self.began = True

    def stop(self) -> None:
        self.ended = True

    def decide(self, asked: Asked) -> Action | None:
        return self.answer(asked)


def test_a_refusal_is_an_answer_that_clients_can_read() -> None:
    ended: list[int] = []
    asked: list[Asked] = []

    def refuse(each: Asked) -> Action:
        asked.append(each)
        refusal = Refusal(429, "throttled", "Too many requests. Ask again in 7 s.", 7)
        return Action(refusal=refusal, headers=((b"x-stillwatch", b"throttle"),), finished=lambda: ended.append(1))

    seen: list[Any] = []
    sent, events, middleware = watch(answering([b"{}"], seen=seen), CHAT, enforcer=Enforcing(refuse))
    assert seen == []
    assert sent[0]["status"] == 429
    assert {(b"retry-after", b"7"), (b"x-stillwatch", b"throttle")} <= set(sent[0]["headers"])
    assert json.loads(sent[1]["body"])["error"] == {
        "message": "Too many requests. Ask again in 7 s.",
        "type": "rate_limit_error",
        "param": None,
        "code": "throttled",
    }
    assert asked == [Asked(IDENTITY.account("sk-one"), "", "chat")]
    assert ended == [1]
    assert middleware.publisher.counts.get(ENFORCED, "refuse") == 1
    assert events == []  # Its body was never read: there is nothing to tell of.
    assert middleware.publisher.counts.total(REJECTS) == 0
    _, _, other = watch(answering([b"{}"]), CHAT, path="/v1/messages", enforcer=Enforcing(refuse))
    assert other.publisher.counts.get(ENFORCED, "refuse") == 1


def test_a_transform_changes_what_the_application_reads() -> None:
    seen: list[Any] = []
    action = Action(transform=lambda body: {**body, "logprobs": False})
    body = json.dumps({**CHAT, "logprobs": True}).encode()
    headers = [(b"authorization", b"Bearer sk-one"), (b"Content-Length", str(len(body)).encode())]
    _, events, _ = watch(
        answering([json.dumps(ANSWER).encode()], seen=seen),
        [body[:10], body[10:]],
        enforcer=Enforcing(lambda _: action),
        headers=headers,
    )
    scope, read = seen[0]
    assert json.loads(read)["logprobs"] is False
    lengths = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
    assert lengths == [str(len(read)).encode()]
    assert only(events).logprobs  # What was asked for is told, not what was made of it.


def test_a_transform_of_what_is_no_object_changes_nothing() -> None:
    seen: list[Any] = []
    action = Action(transform=lambda body: body | {"never": 1})
    watch(answering([b"{}"], seen=seen), b"[1, 2]", enforcer=Enforcing(lambda _: action))
    assert seen[0][1] == b"[1, 2]"


def test_a_body_too_large_to_be_changed_is_refused() -> None:
    action = Action(transform=lambda body: body)
    sent, _, _ = watch(
        answering([b"{}"]), CHAT, enforcer=Enforcing(lambda _: action), settings={"gateway_body_bytes": 10}
    )
    assert sent[0]["status"] == 413


def test_a_delay_is_waited_for() -> None:
    sent, events, middleware = watch(
        answering([b"{}"]), CHAT, enforcer=Enforcing(lambda _: Action(delay_seconds=0.001))
    )
    assert sent[0]["status"] == 200
    assert only(events)
    assert middleware.publisher.counts.get(ENFORCED, "delay") == 1


def _broken(asked: Asked) -> Action:
    raise ZeroDivisionError


@pytest.mark.parametrize(("closed", "status"), [(False, 200), (True, 503)])
def test_an_enforcers_failure_lets_pass_unless_told_otherwise(*, closed: bool, status: int) -> None:
    sent, _, middleware = watch(
        answering([b"{}"]), CHAT, enforcer=Enforcing(_broken), settings={"gateway_fail_closed": closed}
    )
    assert sent[0]["status"] == status
    assert middleware.publisher.counts.get(FAILURES, "enforcer") == 1


@pytest.mark.parametrize("says", [True, False])
def test_an_enforcer_begins_and_ends_with_the_application(*, says: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        if says:
            await send({"type": "lifespan.shutdown.complete"})

    kept, enforcer = Kept(), Enforcing(lambda _: None)
    middleware = StillwatchMiddleware(
        app, configuration(), publisher=publisher(kept), identity=IDENTITY, enforcer=enforcer, clock=Hands()
    )
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        assert enforcer.began
        if message["type"] == "lifespan.shutdown.complete":
            assert kept.closed  # The server may end its process as soon as it hears this.

    asyncio.run(middleware({"type": "lifespan"}, receive, send))
    assert enforcer.ended
    assert kept.closed


def test_an_application_that_knows_no_lifespan_is_watched_all_the_same() -> None:
    answer = answering([json.dumps(ANSWER).encode()])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("unknown scope")
        await answer(scope, receive, send)

    kept = Kept()
    middleware = StillwatchMiddleware(app, configuration(), publisher=publisher(kept), identity=IDENTITY, clock=Hands())

    async def never(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(ValueError, match="unknown scope"):
        asyncio.run(middleware({"type": "lifespan"}, never, never))
    asyncio.run(ask(middleware, json.dumps(CHAT).encode()))
    middleware.publisher.stop()
    assert len(kept.records) == 1
