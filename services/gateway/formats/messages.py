"""Messages and answers as OpenAI-compatible and Anthropic APIs write them, to turns.

Text parts become the turn's text. Everything else (images, audio, files, tool calls) becomes an attachment: the digest
of its bytes or of its address, or its canonical JSON, so that it counts in exact hashes and is read by nothing else.
Nothing here raises on a shape that it does not know: an unknown part is an attachment.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from detection.text.conversation import REDACTED, Conversation, Role, Turn
from services.gateway.parsed import as_object, as_text

_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}
_TEXT_PARTS: Final = frozenset(("text", "input_text", "output_text"))
_DEPTH: Final = 8  # Anthropic nests a tool's result once; deeper ones are attachments.


def read_prompt(request: dict[str, Any]) -> tuple[Turn, ...]:
    """Read the turns of a request body: ``messages`` (chat), ``prompt`` (legacy) or ``input`` (responses API).

    ``system`` (Anthropic) and ``instructions`` (responses API) come first.
    """
    turns = [Turn("system", *_content(request[name])) for name in ("system", "instructions") if request.get(name)]
    for name in ("messages", "prompt", "input"):
        found = request.get(name)
        if found is not None:
            return (*turns, *read_messages(found))
    return tuple(turns)


def read_messages(messages: object, role: Role = "user") -> tuple[Turn, ...]:
    """Read a list of messages; a bare string, or a list of them, is one turn each, of ``role`` as is one without."""
    if isinstance(messages, dict):
        messages = messages.get("messages", [messages])
    if not isinstance(messages, list):
        return () if messages in (None, "") else (Turn(role, *_content(messages)),)
    if messages and all(isinstance(token, int) for token in messages):
        return (Turn("user", "", (_canonical(messages),)),)  # A prompt of token numbers.
    return tuple(_turn(message, role) for message in messages)


def read_answer(response: object) -> tuple[Turn | None, bool]:
    """Read a completed answer of any of these APIs; (None where it says nothing, whether the provider refused).

    Several choices become one turn, in their order.
    """
    if isinstance(response, str):
        return (Turn("assistant", response) if response else None), False
    body = as_object(response)
    if body.get("text") == REDACTED:
        return Turn("assistant", REDACTED), False
    pieces: list[Turn] = []
    refused = False
    choices = body.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        entry = as_object(choice)
        message = as_object(entry.get("message"))
        refused = refused or bool(message.get("refusal")) or entry.get("finish_reason") == "content_filter"
        pieces.append(_turn(message) if message else Turn("assistant", *_content(entry.get("text"))))
        if message.get("refusal"):
            pieces.append(Turn("assistant", *_content(message["refusal"])))
    output = body.get("output")
    if isinstance(output, list):  # Responses API.
        pieces.extend(_turn(item) for item in output)
    if not isinstance(choices, list) and body.get("content"):  # Anthropic.
        pieces.append(_turn(body))
    refused = refused or body.get("stop_reason") == "refusal"
    text = "\n".join(piece.text for piece in pieces if piece.text)
    attachments = tuple(extra for piece in pieces for extra in piece.attachments)
    return (Turn("assistant", text, attachments) if text or attachments else None), refused


def conversation_of(turns: tuple[Turn, ...], response: object) -> Conversation:
    """Put a prompt and its answer together."""
    answer, refused = read_answer(response)
    return Conversation(turns, answer, refused)


def _turn(message: object, unsaid: Role = "user") -> Turn:
    if not isinstance(message, dict):
        return Turn(unsaid, *_content(message))
    role = _ROLES.get(str(message.get("role", unsaid)).lower(), unsaid)
    kind = as_text(message.get("type"))
    if kind in {"function_call_output", "tool_result"}:
        role = "tool"
    elif kind in {"function_call", "reasoning"}:
        role = "assistant"
    # ``parts`` is OpenTelemetry's word, ``output`` that of a tool's result in the responses API.
    text, attachments = _content(message.get("content", message.get("output", message.get("parts"))))
    called = [message[name] for name in ("tool_calls", "function_call", "arguments") if message.get(name)]
    return Turn(role, text, attachments + tuple(_canonical(_without_ids(call)) for call in called))


def _content(content: object, depth: int = 0) -> tuple[str, tuple[bytes, ...]]:
    if content is None:
        return "", ()
    if isinstance(content, str):
        return content, ()
    if not isinstance(content, list):
        content = [content]
    texts: list[str] = []
    attachments: list[bytes] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        entry = as_object(part)
        kind = as_text(entry.get("type", "text"))
        said = entry.get("text", entry.get("content"))
        if kind in _TEXT_PARTS and isinstance(said, str):
            texts.append(said)
        elif kind == "tool_result" and depth < _DEPTH:
            inner, extras = _content(entry.get("content"), depth + 1)
            texts.append(inner)
            attachments.extend(extras)
        else:
            attachments.append(_attachment(part))
    return "\n".join(texts), tuple(attachments)


def _attachment(part: object) -> bytes:
    """Name an image by its address or bytes, whichever API it came through; other parts by their canonical JSON."""
    entry = as_object(part)
    source = entry.get("image_url", entry.get("source"))
    if isinstance(source, dict):
        source = source.get("url", source.get("data"))
    return hashlib.blake2b(
        source.encode("utf-8", "surrogatepass") if isinstance(source, str) else _canonical(part)
    ).digest()


def _without_ids(call: object) -> object:
    """Drop what differs each time the same tool is called the same way."""
    if isinstance(call, list):
        return [_without_ids(one) for one in call]
    if isinstance(call, dict):
        return {name: value for name, value in call.items() if name not in {"id", "call_id", "index", "type"}}
    return call


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode("utf-8", "surrogatepass")
