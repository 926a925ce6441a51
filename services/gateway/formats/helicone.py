"""Helicone-style request exports, one JSON object a line: bodies beside what was measured.

The account is ``request_auth_hash`` or ``auth_hash`` where the export has one, else ``request_user_id``, else the
``user_id`` of ``request_properties``; all are raw values and are keyed. ``request_created_at`` is RFC 3339 or epoch
seconds, ``latency`` and ``delay_ms`` are ms.
"""

from __future__ import annotations

from typing import Any

from services.gateway.formats.openai import from_bodies, read_time
from services.gateway.formats.values import first_text, json_object, json_value, number_text, status_error
from services.gateway.parsed import ParsedRequest, RejectedRecord, as_count, as_number, as_object


def parse(record: dict[str, Any]) -> ParsedRequest:
    """Parse one record; raises RejectedRecord: ``no_account`` or ``no_time``."""
    properties = as_object(record.get("request_properties")) or as_object(record.get("properties"))
    user = first_text(record, "request_user_id", "user_id") or first_text(properties, "user_id", "user")
    account = first_text(record, "request_auth_hash", "auth_hash") or user
    if not account:
        raise RejectedRecord("no_account", "neither auth_hash nor user_id is given")
    first_chunk = _number(record, "time_to_first_token")
    duration = _number(record, "latency")
    return from_bodies(
        json_object(record.get("request_body")),
        json_value(record.get("response_body")),
        natural_id=tuple(filter(None, (first_text(record, "request_id"), first_text(record, "response_id")))),
        time_unix_ms=read_time(record.get("request_created_at", record.get("created_at"))),
        account_raw=account,
        organization_raw=first_text(record, "organization_id") or first_text(properties, "organization"),
        end_user_raw="" if user == account else user,
        model=first_text(record, "request_model", "response_model", "model"),
        provider=first_text(record, "provider"),
        input_tokens=as_count(_number(record, "prompt_tokens")),
        output_tokens=as_count(_number(record, "completion_tokens")),
        reasoning_tokens=as_count(_number(record, "reasoning_tokens")),
        cached_tokens=as_count(_number(record, "prompt_cache_read_tokens")),
        duration_ms=as_count(_number(record, "delay_ms") if duration is None else duration),
        first_chunk_ms=None if first_chunk is None else as_count(first_chunk),
        error=status_error(record.get("response_status", record.get("status"))),
        user_agent=first_text(properties, "user_agent"),
        client_address=first_text(properties, "client_address"),
    )


def _number(record: dict[str, Any], name: str) -> float | None:
    return as_number(number_text(record.get(name)))
