"""What a watched request costs: on the event loop, where responses wait, and in the publisher's thread, where none do.

    python tests/benchmarks/gateway_cost.py [ROUNDS]

Times are CPU time of the thread, so that a busy machine changes them little: the median over rounds, microseconds a
request. *Sketch* is ``detection.text`` alone; *event* is everything of the publisher's thread (both bodies decoded,
stream chunks joined, identifiers keyed, sketch, JSON); *loop* is what the middleware adds on the event loop.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from detection.text.sketch import Sketcher
from services.gateway.configuration import GatewayConfiguration, Secret
from services.gateway.identity import Identity
from services.gateway.middleware import StillwatchMiddleware
from services.gateway.middleware.exchange import Captured, Exchange
from services.gateway.publishing.buffer import WorkBuffer
from services.gateway.publishing.counts import Counts
from services.gateway.publishing.publisher import Publisher
from services.gateway.sketching import EventMaker

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "0123456789abcdef0123456789abcdef"
IDENTITY = Identity(KEY.encode())
LIMIT = 64 << 20
ANSWER = "It is wide, and it is deep; nobody who has seen it forgets it. " * 16
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "you",
    "that",
    "it",
    "he",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
    "have",
    "from",
    "or",
    "one",
    "had",
    "by",
    "word",
]


def prose(characters: int, random_: random.Random) -> str:
    text = ""
    pieces: list[str] = []
    size = 0
    while size < characters:
        sentence = " ".join(random_.choice(WORDS) for _ in range(random_.randint(6, 18))).capitalize() + ". "
        pieces.append(sentence)
        size += len(sentence)
    text = "".join(pieces)
    return text[:characters]


def cases() -> dict[str, tuple[dict[str, Any], bool]]:
    """Name -> request body, and whether its answer is streamed."""
    random_ = random.Random(7)  # noqa: S311 - text for a benchmark

    def chat(text: Any, **more: Any) -> dict[str, Any]:
        return {
            "model": "m",
            "messages": [{"role": "system", "content": "Be terse."}, {"role": "user", "content": text}],
            **more,
        }

    turns = [{"role": role, "content": prose(500, random_)} for _ in range(20) for role in ("user", "assistant")]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0K" * 25_000}}
    tools = [{"type": "function", "function": {"name": f"f{n}", "parameters": {"type": "object"}}} for n in range(40)]
    return {
        "1k characters": (chat(prose(1_000, random_)), False),
        "1k, streamed": (chat(prose(1_000, random_), stream=True), True),
        "10k characters": (chat(prose(10_000, random_)), False),
        "10k, streamed": (chat(prose(10_000, random_), stream=True), True),
        "100k characters": (chat(prose(100_000, random_)), False),
        "100k, streamed": (chat(prose(100_000, random_), stream=True), True),
        "10 MB": (chat(prose(10_000_000, random_)), False),
        "10k of Chinese": (chat("".join(chr(random_.randint(0x4E00, 0x9FFF)) for _ in range(10_000))), False),
        "10k of noise": (chat("".join(chr(random_.randint(1, 0x2FF)) for _ in range(10_000))), False),
        "40 tools": (chat(prose(1_000, random_), tools=tools), False),
        "image of 200 kB": (chat([{"type": "text", "text": prose(1_000, random_)}, image]), False),
        "41 turns": ({"model": "m", "messages": [*turns, {"role": "user", "content": prose(500, random_)}]}, False),
    }


def response(*, streamed: bool) -> list[bytes]:
    usage = {"prompt_tokens": 100, "completion_tokens": 200}
    if not streamed:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}
        return [json.dumps({"id": "r", "choices": [choice], "usage": usage}).encode()]
    pieces = [ANSWER[place : place + 5] for place in range(0, len(ANSWER), 5)]
    chunks = [{"id": "r", "choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    chunks += [{"id": "r", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}]
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"]


def measured(act: Callable[[], object], rounds: int) -> float:
    act()
    times = []
    for _ in range(rounds):
        began = time.thread_time_ns()
        act()
        times.append(time.thread_time_ns() - began)
    return statistics.median(times) / 1000


def exchange(body: bytes, chunks: list[bytes], *, streamed: bool) -> Exchange:
    made = Exchange(
        api="chat",
        natural_id=("n",),
        account_raw="sk-one",
        started_ms=1_700_000_000_000,
        status=200,
        request=Captured(LIMIT),
        response=Captured(LIMIT),
        event_stream=streamed,
    )
    made.request.add(body)
    for chunk in chunks:
        made.response.add(chunk)
    return made


def loop_cost(body: bytes, chunks: list[bytes], *, streamed: bool, rounds: int) -> float:
    """What the middleware adds to a request on the event loop."""
    kind = b"text/event-stream" if streamed else b"application/json"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    buffer = WorkBuffer(1 << 30, 1 << 40)
    publisher = Publisher(IDENTITY, lambda: None, Counts(), buffer, "/bench")
    middleware = StillwatchMiddleware(
        app,
        GatewayConfiguration(hmac_key=Secret(KEY), gateway_body_bytes=LIMIT),
        publisher=publisher,
        identity=IDENTITY,
    )
    middleware._begun = True
    message = {"type": "http.request", "body": body}
    headers = [
        (b"authorization", b"Bearer sk-one"),
        (b"user-agent", b"bench/1"),
        (b"content-type", b"application/json"),
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": headers,
        "client": ("192.0.2.1", 1),
    }

    async def receive() -> dict[str, Any]:
        return message

    async def send(_: Any) -> None:
        """A client that takes everything at once."""

    async def ask(target: Any) -> None:
        await target(dict(scope), receive, send)
        buffer.take(0)

    with asyncio.Runner() as runner:
        runner.run(asyncio.sleep(0))
        loop = runner.get_loop()
        plain = measured(lambda: loop.run_until_complete(ask(app)), rounds)
        return measured(lambda: loop.run_until_complete(ask(middleware)), rounds) - plain


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    sys.stdout.write("| request | sketch, us | event, us | loop, us |\n| --- | --- | --- | --- |\n")
    for name, (request, streamed) in cases().items():
        body, chunks = json.dumps(request).encode(), response(streamed=streamed)
        few = rounds if len(body) < 1_000_000 else max(5, rounds // 20)
        maker, sketcher = EventMaker(IDENTITY), Sketcher(IDENTITY.text_key())
        work = exchange(body, chunks, streamed=streamed)
        conversation = work.parse().conversation
        sketch = measured(lambda: sketcher.sketch(conversation), few)  # noqa: B023 - called at once
        event = measured(lambda: [msgspec.json.encode(each) for each in work.events(maker)], few)  # type: ignore[misc]  # noqa: B023 - as above
        loop = loop_cost(body, chunks, streamed=streamed, rounds=few)
        sys.stdout.write(f"| {name} | {sketch:,.0f} | {event:,.0f} | {loop:,.0f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
