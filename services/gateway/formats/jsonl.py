"""Plain JSON lines, for whoever writes their own: flat names, no bodies of an API.

{"time": 1795318678.02,       epoch seconds or RFC 3339; needed
"account": "...",            needed; a raw value, and keyed
"organization": "...", "end_user": "...", "id": "...",
"model": "...", "provider": "...", "operation": "chat",
"system": "...", "prompt": "...", "response": "...",       or "messages": [...] in place of system and prompt
"input_tokens": 1, "output_tokens": 2, "reasoning_tokens": 0, "cached_tokens": 0,
"max_tokens": 512, "temperature": 0.7, "top_p": 1, "n": 1, "logprobs": false, "logit_bias": {}, "tools": 0,
"stream": false, "finish_reason": "stop", "first_chunk_ms": 120, "duration_ms": 900,
"status": 200, "user_agent": "...", "client_address": "..."}
"""

from __future__ import annotations

from typing import Any, Final

from services.gateway.formats.openai import from_bodies, read_time, text_answer
from services.gateway.formats.values import first_text, number_text, status_error
from services.gateway.parsed import ParsedRequest, RejectedRecord, as_count, as_number, as_text

_BODY: Final = (
    "system",
    "messages",
    "prompt",
    "max_tokens",
    "temperature",
    "top_p",
    "n",
    "logprobs",
    "logit_bias",
    "stream",
)
_OPERATIONS: Final = frozenset(("chat", "text_completion", "embeddings"))


def parse(record: dict[str, Any]) -> ParsedRequest:
    """Parse one record; raises RejectedRecord: ``no_account`` or ``no_time``."""
    account = first_text(record, "account")
    if not account:
        raise RejectedRecord("no_account", "account is empty")
    operation = as_text(record.get("operation"))
    first_chunk = as_number(number_text(record.get("first_chunk_ms")))
    reason = as_text(record.get("finish_reason"))
    return from_bodies(
        {name: record[name] for name in _BODY if record.get(name) is not None},
        text_answer(record.get("response")),
        natural_id=tuple(filter(None, (first_text(record, "id"),))),
        time_unix_ms=read_time(record.get("time")),
        account_raw=account,
        organization_raw=first_text(record, "organization"),
        end_user_raw=first_text(record, "end_user"),
        model=first_text(record, "model"),
        provider=first_text(record, "provider"),
        operation=operation if operation in _OPERATIONS else "chat",
        input_tokens=_count(record, "input_tokens"),
        output_tokens=_count(record, "output_tokens"),
        reasoning_tokens=_count(record, "reasoning_tokens"),
        cached_tokens=_count(record, "cached_tokens"),
        tools=_count(record, "tools"),
        finish_reasons=(reason,) if reason else (),
        first_chunk_ms=None if first_chunk is None else as_count(first_chunk),
        duration_ms=_count(record, "duration_ms"),
        error=status_error(record.get("status")),
        user_agent=first_text(record, "user_agent"),
        client_address=first_text(record, "client_address"),
    )


def _count(record: dict[str, Any], name: str) -> int:
    return as_count(number_text(record.get(name)))
