"""Kong's ``http-log`` (and file-log) records of requests that passed ``ai-proxy``; batches arrive as arrays.

The account is the consumer that Kong authenticated, by ``id``, else ``custom_id``, else ``username``; without one it is
the request's credential, which Kong logs among the headers. All are raw values and are keyed. ``started_at`` and
``latencies`` are ms. ``ai.proxy.payload`` holds the bodies as JSON text where ``log_payloads`` is on; without it there
is no text, no setting and no finish reason.
"""

from __future__ import annotations

from typing import Any

from services.gateway.formats.credentials import credential_of
from services.gateway.formats.openai import from_bodies
from services.gateway.formats.values import first_text, json_object, ms_time, objects_within, status_error
from services.gateway.parsed import ParsedRequest, RejectedRecord, as_count, as_number, as_object, as_text


def parse(record: dict[str, Any]) -> ParsedRequest:
    """Parse one record; raises RejectedRecord: ``schema``, ``no_account`` or ``no_time``."""
    proxy = _proxy(record)
    meta, usage, payload = (as_object(proxy.get(name)) for name in ("meta", "usage", "payload"))
    request = as_object(record.get("request"))
    headers = as_object(request.get("headers"))
    consumer = as_object(record.get("consumer"))
    account = first_text(consumer, "id", "custom_id", "username") or credential_of(headers)
    if not account:
        raise RejectedRecord("no_account", "neither consumer nor credential is given")
    latencies = as_object(record.get("latencies"))
    first_chunk = as_number(meta.get("llm_latency"))
    return from_bodies(
        json_object(payload.get("request")),
        payload.get("response"),
        natural_id=tuple(filter(None, (first_text(request, "id"), as_text(meta.get("request_id"))))),
        time_unix_ms=ms_time(record.get("started_at")),
        account_raw=account,
        model=first_text(meta, "request_model", "response_model"),
        provider=as_text(meta.get("provider_name")),
        stream=meta.get("request_mode") == "stream",
        input_tokens=as_count(usage.get("prompt_tokens")),
        output_tokens=as_count(usage.get("completion_tokens")),
        duration_ms=as_count(latencies.get("request")),
        first_chunk_ms=None if first_chunk is None else as_count(first_chunk),
        error=status_error(as_object(record.get("response")).get("status")),
        user_agent=first_text(headers, "user-agent"),
        client_address=as_text(record.get("client_ip")),
    )


def _proxy(record: dict[str, Any]) -> dict[str, Any]:
    """Find what ai-proxy told: under its own name, or under that of a plugin that takes its place."""
    ai = as_object(record.get("ai"))
    if isinstance(ai.get("proxy"), dict):
        return as_object(ai["proxy"])
    found = [entry for entry in objects_within(ai) if "usage" in entry or "meta" in entry]
    if not found:
        raise RejectedRecord("schema", "ai.proxy is no object")
    return found[0]
