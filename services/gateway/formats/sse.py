"""Server-sent chunks of a streamed answer, joined to the body that an unstreamed one has.

Three shapes: chat and legacy completions (``choices`` with deltas), Anthropic messages (events with a ``type``), and
the responses API, whose last event holds the whole body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from services.gateway.parsed import as_count, as_object, as_text

if TYPE_CHECKING:
    from collections.abc import Iterator


def split_events(data: bytes) -> Iterator[str]:
    """Give the data of each event of a stream; lines of one event are joined, comments and names are passed over."""
    lines: list[str] = []
    for line in data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line and lines:
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)


def join_chunks(chunks: list[Any]) -> dict[str, Any]:
    """Join chunks in their order; lines may be objects or ``data: {...}`` strings. What is neither is passed over.

    A stream that was cut gives what had come. Usage is the last that any chunk told.
    """
    body: dict[str, Any] = {}
    choices: dict[int, _Choice] = {}
    blocks: dict[int, _Block] = {}
    for chunk in chunks:
        entry = _decode(chunk)
        if isinstance(entry.get("response"), dict):
            body |= entry["response"]
        elif isinstance(entry.get("type"), str):
            _add_event(entry, body, blocks)
        else:
            body |= {name: entry[name] for name in ("id", "model", "usage") if entry.get(name)}
            found = entry.get("choices")
            for place, choice in enumerate(found if isinstance(found, list) else []):
                part = as_object(choice)
                index = as_count(part.get("index", place))
                choices.setdefault(index, _Choice()).add(part)
    if choices:
        body["choices"] = [choices[index].finish() for index in sorted(choices)]
    if blocks:
        body["content"] = [blocks[index].finish() for index in sorted(blocks)]
    return body


def _add_event(entry: dict[str, Any], body: dict[str, Any], blocks: dict[int, _Block]) -> None:
    kind = entry["type"]
    index = as_count(entry.get("index"))
    if kind == "message_start":
        body |= as_object(entry.get("message"))
        body.pop("content", None)  # Empty at the start; the blocks fill it.
    elif kind == "content_block_start":
        blocks[index] = _Block(as_object(entry.get("content_block")))
    elif kind == "content_block_delta":
        blocks.setdefault(index, _Block({})).add(as_object(entry.get("delta")))
    elif kind == "message_delta":
        body |= {name: value for name, value in as_object(entry.get("delta")).items() if name == "stop_reason"}
        # The last event tells the output alone; the first one told the input.
        body["usage"] = as_object(body.get("usage")) | as_object(entry.get("usage"))


class _Block:
    """A block of an Anthropic answer: text, or a tool's call whose input comes in pieces."""

    def __init__(self, start: dict[str, Any]) -> None:
        self._start = start
        self._texts = [as_text(start.get("text"))]
        self._inputs: list[str] = []

    def add(self, delta: dict[str, Any]) -> None:
        self._texts.append(as_text(delta.get("text")))
        self._inputs.append(as_text(delta.get("partial_json")))

    def finish(self) -> dict[str, Any]:
        text, said = "".join(self._texts), "".join(self._inputs)
        if self._start.get("type", "text") == "text":
            return {"type": "text", "text": text}
        return {"type": self._start["type"], "name": self._start.get("name"), "input": _decode(said)}


class _Choice:
    def __init__(self) -> None:
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._reason: object = None

    def add(self, part: dict[str, Any]) -> None:
        delta = as_object(part.get("delta"))
        for pieces, value in (
            (self._texts, delta.get("content")),
            (self._texts, part.get("text")),
            (self._refusals, delta.get("refusal")),
        ):
            if isinstance(value, str):
                pieces.append(value)
        calls = delta.get("tool_calls")
        for place, call in enumerate(calls if isinstance(calls, list) else []):
            function = as_object(as_object(call).get("function"))
            said = self._calls.setdefault(as_count(as_object(call).get("index", place)), {"name": "", "arguments": ""})
            for name in said:
                said[name] += as_text(function.get(name))
        self._reason = part.get("finish_reason") or self._reason

    def finish(self) -> dict[str, Any]:
        return {
            "finish_reason": self._reason,
            "message": {
                "role": "assistant",
                "content": "".join(self._texts),
                "refusal": "".join(self._refusals) or None,
                "tool_calls": [{"function": said} for _, said in sorted(self._calls.items())],
            },
        }


def _decode(chunk: object) -> dict[str, Any]:
    if not isinstance(chunk, str):
        return as_object(chunk)
    try:
        return as_object(msgspec.json.decode(chunk.removeprefix("data:").strip()))
    except (msgspec.DecodeError, RecursionError):
        return {}  # "[DONE]", comments, and a line that was cut.
