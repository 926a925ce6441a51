"""Server-sent chunks of a streamed chat or legacy completion, joined to the body that an unstreamed one has."""

from __future__ import annotations

from typing import Any

import msgspec

from services.gateway.parsed import as_count, as_object, as_text


def join_chunks(chunks: list[Any]) -> dict[str, Any]:
    """Join chunks in their order; lines may be objects or ``data: {...}`` strings. What is neither is passed over.

    A stream that was cut gives what had come. Usage is the last that any chunk told. The responses API sends the whole
    body in its last event.
    """
    body: dict[str, Any] = {}
    choices: dict[int, _Choice] = {}
    for chunk in chunks:
        entry = _decode(chunk)
        if isinstance(entry.get("response"), dict):
            body |= entry["response"]
            continue
        body |= {name: entry[name] for name in ("id", "model", "usage") if entry.get(name)}
        found = entry.get("choices")
        for place, choice in enumerate(found if isinstance(found, list) else []):
            part = as_object(choice)
            index = as_count(part.get("index", place))
            choices.setdefault(index, _Choice()).add(part)
    if choices:
        body["choices"] = [choices[index].finish() for index in sorted(choices)]
    return body


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
