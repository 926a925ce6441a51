"""Request and response pairs of an OpenAI-compatible API, one JSON object a line.

    {"request": {...},            the body as sent: chat, legacy completion, embeddings or responses API
     "response": {...},           the completed body, a list of SSE chunks (objects, or "data: ..." lines), or null
     "account": "...",            whose request it is; else "api_key": the credential itself
     "user": "...",               the account's own end user; else request.user or request.safety_identifier
     "organization": "...",       the customer that owns several accounts, where the gateway knows one
     "client_address": "...",     IPv4 or IPv6, a port or a forwarded list is read past
     "user_agent": "...",
     "started_at": 1795318678.02, epoch seconds or RFC 3339; the event's time
     "first_chunk_at": ...,       for streams; optional
     "ended_at": ...,             optional
     "status": 200,               HTTP status; 400 and above is an error
     "error": "...",              exception class where there is no status; optional
     "provider": "openai",        optional
     "id": "..."}                 optional; else response.id tells the request from others

``request``, one of ``account`` and ``api_key``, and ``started_at`` are needed; everything else may be null or absent.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from services.gateway.formats.messages import conversation_of, read_prompt
from services.gateway.formats.sse import join_chunks, split_events
from services.gateway.formats.values import json_value
from services.gateway.parsed import (
    ParsedRequest,
    RejectedRecord,
    as_count,
    as_number,
    as_object,
    as_text,
    as_time_ms,
)

_ERRORS_FROM: Final = 400


def parse(record: dict[str, Any]) -> ParsedRequest:
    """Parse one pair; raises RejectedRecord: ``schema``, ``no_account`` or ``no_time``."""
    request = record.get("request")
    if not isinstance(request, dict):
        raise RejectedRecord("schema", "request is no object")
    account = as_text(record.get("account")) or as_text(record.get("api_key"))
    if not account:
        raise RejectedRecord("no_account", "neither account nor api_key is given")
    start = read_time(record.get("started_at"))
    end = _optional_time(record.get("ended_at"))
    first_chunk = _optional_time(record.get("first_chunk_at"))
    identifier = as_text(record.get("id"))
    parsed = from_bodies(
        request,
        record.get("response"),
        time_unix_ms=start,
        account_raw=account,
        organization_raw=as_text(record.get("organization")),
        end_user_raw=as_text(record.get("user")),
        provider=as_text(record.get("provider")),
        first_chunk_ms=None if first_chunk is None else max(0, first_chunk - start),
        duration_ms=0 if end is None else max(0, end - start),
        error=_error(record),
        user_agent=as_text(record.get("user_agent")),
        client_address=as_text(record.get("client_address")),
    )
    return replace(parsed, natural_id=(identifier, *parsed.natural_id)) if identifier else parsed


def from_bodies(request: dict[str, Any], response: object, **known: Any) -> ParsedRequest:
    """Read an API's bodies for what a vendor's record does not tell itself (``known``, by ParsedRequest's names).

    ``response`` is a completed body, or the text of one; a list of stream chunks, or the text of a stream. What is
    known counts where it says something; 0, "" and None say nothing.
    """
    streamed = isinstance(response, list)
    if isinstance(response, str):
        if response.lstrip().startswith(("data:", "event:")):
            streamed, response = True, list(split_events(response.encode("utf-8", "surrogatepass")))
        else:
            response = json_value(response)
    answer = join_chunks(response) if isinstance(response, list) else as_object(response)
    usage = as_object(answer.get("usage"))
    found: dict[str, Any] = {
        "natural_id": tuple(filter(None, (as_text(answer.get("id")),))),
        "end_user_raw": as_text(request.get("user")) or as_text(request.get("safety_identifier")),
        "model": as_text(request.get("model")) or as_text(answer.get("model")),
        "operation": _operation(request),
        "input_tokens": as_count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        "output_tokens": as_count(usage.get("completion_tokens", usage.get("output_tokens"))),
        "reasoning_tokens": _detail(usage, "completion_tokens_details", "output_tokens_details", "reasoning_tokens"),
        "cached_tokens": _detail(usage, "prompt_tokens_details", "input_tokens_details", "cached_tokens")
        or as_count(usage.get("cache_read_input_tokens")),
        "stream": bool(request.get("stream")) or streamed,
        "finish_reasons": finish_reasons(answer),
        "conversation": conversation_of(read_prompt(request), answer),
        **request_settings(request),
    }
    said = found | {name: value for name, value in known.items() if value or name not in found}
    if not said["stream"]:
        said.pop("first_chunk_ms", None)  # Some measure it for whole answers as well, where it says nothing.
    return ParsedRequest(**said)


def text_answer(text: object) -> object:
    """Give an answer's text the shape of a body; anything but text stays as it is."""
    return {"choices": [{"message": {"role": "assistant", "content": text}}]} if isinstance(text, str) else text


def request_settings(request: dict[str, Any]) -> dict[str, Any]:
    """Read the sampling settings of a request body, under the names of ``ParsedRequest``."""
    limits = [request.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens")]
    limit = next((limit for limit in limits if as_number(limit) is not None), None)
    tools = request.get("tools") or request.get("functions")
    bias = request.get("logit_bias")
    return {
        "max_tokens": None if limit is None else as_count(limit),
        "temperature": as_number(request.get("temperature")),
        "top_p": as_number(request.get("top_p")),
        "choices": max(1, as_count(request.get("n"))),
        # Legacy completions give a number here, chat a truth value; 0 top_logprobs still asks for the token's own.
        "logprobs": bool(request.get("logprobs")) or bool(request.get("top_logprobs")),
        "logit_bias": bias if isinstance(bias, dict) and bias else None,
        "tools": len(tools) if isinstance(tools, list) else 0,
    }


def finish_reasons(response: dict[str, Any]) -> tuple[str, ...]:
    """Give each choice's reason, in order; the responses API and Anthropic have one for the whole answer."""
    choices = response.get("choices")
    if isinstance(choices, list):
        reasons = [as_text(as_object(choice).get("finish_reason")) for choice in choices]
    else:
        reasons = [as_text(as_object(response.get("incomplete_details")).get("reason") or response.get("stop_reason"))]
    same = {"max_tokens": "length", "max_output_tokens": "length", "end_turn": "stop"}
    return tuple(same.get(reason, reason) for reason in reasons if reason)


def read_time(value: object) -> int:
    """Read epoch seconds or RFC 3339 as ms (no zone means UTC); raises RejectedRecord ``no_time``."""
    seconds = as_number(value)
    if seconds is None and isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            seconds = None
    if seconds is None:
        raise RejectedRecord("no_time", "the time is neither epoch seconds nor RFC 3339")
    return as_time_ms(seconds)


def _optional_time(value: object) -> int | None:
    try:
        return None if value is None else read_time(value)
    except RejectedRecord:
        return None


def _operation(request: dict[str, Any]) -> str:
    if "prompt" in request:
        return "text_completion"
    if "input" in request and not {"instructions", "tools", "max_output_tokens"} & request.keys():
        return "embeddings" if "embed" in as_text(request.get("model")).lower() else "chat"
    return "chat"


def _detail(usage: dict[str, Any], chat: str, responses: str, name: str) -> int:
    return as_count(as_object(usage.get(chat) or usage.get(responses)).get(name))


def _error(record: dict[str, Any]) -> str:
    status = as_count(record.get("status"))
    if status >= _ERRORS_FROM:
        return str(status)
    return as_text(record.get("error"))
