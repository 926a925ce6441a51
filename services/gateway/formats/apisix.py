"""APISIX's ``kafka-logger`` and ``http-logger`` records of requests that passed ``ai-proxy``.

The account is the consumer, ``consumer.username``; without one it is the request's credential, which APISIX logs among
the headers. Both are raw values and are keyed. ``start_time`` and ``latency`` are ms. ``llm_request`` and
``llm_response_text`` come with ``logging.payloads``; there is no finish reason. APISIX may log ``request.body`` even
when told not to: it is read where nothing better is there, sketched, and goes no further.
"""

from __future__ import annotations

from typing import Any

from services.gateway.formats.credentials import credential_of
from services.gateway.formats.openai import from_bodies, text_answer
from services.gateway.formats.values import first_text, json_object, ms_time, number_text, status_error
from services.gateway.parsed import ParsedRequest, RejectedRecord, as_count, as_number, as_object, as_text


def parse(record: dict[str, Any]) -> ParsedRequest:
    """Parse one record; raises RejectedRecord: ``schema``, ``no_account`` or ``no_time``."""
    summary = as_object(record.get("llm_summary"))
    request = as_object(record.get("request"))
    body = as_object(record.get("llm_request")) or json_object(request.get("body"))
    if not summary and not body:
        raise RejectedRecord("schema", "neither llm_summary nor llm_request is an object")
    headers = as_object(request.get("headers"))
    account = first_text(as_object(record.get("consumer")), "username") or credential_of(headers)
    if not account:
        raise RejectedRecord("no_account", "neither consumer nor credential is given")
    answer = record.get("llm_response_text")
    response = as_object(record.get("response"))
    first_chunk = as_number(number_text(summary.get("llm_time_to_first_token")))
    stream = summary.get("stream")
    return from_bodies(
        body,
        text_answer(as_object(answer).get("content", answer)) or response.get("body"),
        natural_id=tuple(filter(None, (first_text(summary, "request_id"), first_text(headers, "x-request-id")))),
        time_unix_ms=ms_time(record.get("start_time")),
        account_raw=account,
        model=first_text(summary, "request_model", "model"),
        provider=as_text(summary.get("provider")),
        input_tokens=_count(summary, "prompt_tokens"),
        output_tokens=_count(summary, "completion_tokens"),
        reasoning_tokens=_count(summary, "reasoning_tokens"),
        cached_tokens=_count(summary, "cache_read_input_tokens"),
        tools=_count(summary, "tool_count"),
        stream=stream is True or as_text(stream) in {"1", "true"},
        duration_ms=_count(record, "latency"),
        first_chunk_ms=None if first_chunk is None else as_count(first_chunk),
        error=status_error(response.get("status")),
        user_agent=first_text(headers, "user-agent"),
        client_address=as_text(record.get("client_ip")),
    )


def _count(record: dict[str, Any], name: str) -> int:
    # Values of nginx variables are text.
    return as_count(number_text(record.get(name)))
