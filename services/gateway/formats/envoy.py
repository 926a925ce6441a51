"""Envoy AI Gateway's access log as JSON, with the names of its reference configuration (docs/gateways/envoy.md).

The account is the value of ``x-account-id``, a header that an authentication filter sets; else ``user.id``; else
``session.id``. It is a raw value and is keyed. No text is ever in an access log, so these requests have no sketch; what
is left are configuration, network, times and counts. ``-`` is Envoy's word for a value that is not there.
"""

from __future__ import annotations

from typing import Any, Final

from services.gateway.formats.openai import read_time
from services.gateway.formats.values import first_text, number_text, status_error
from services.gateway.parsed import ParsedRequest, RejectedRecord, as_count, as_number

_ACCOUNT: Final = ("x-account-id", "user.id", "enduser.id", "session.id")
_OPERATIONS: Final = {"embeddings": "embeddings", "completion": "text_completion", "text_completion": "text_completion"}


def parse(record: dict[str, Any]) -> ParsedRequest:
    """Parse one line; raises RejectedRecord: ``no_account`` or ``no_time``."""
    values = {name: value for name, value in record.items() if value not in ("-", "", None)}
    account = first_text(values, *_ACCOUNT)
    if not account:
        raise RejectedRecord("no_account", "no field of the log tells whose request it is")
    first_chunk = as_number(number_text(values.get("gen_ai.response.time_to_first_chunk_ms")))
    return ParsedRequest(
        natural_id=tuple(filter(None, (first_text(values, "x-request-id"),))),
        time_unix_ms=read_time(values.get("start_time")),
        account_raw=account,
        organization_raw=first_text(values, "x-organization-id"),
        model=first_text(values, "gen_ai.request.model", "gen_ai.response.model"),
        provider=first_text(values, "gen_ai.provider.name"),
        operation=_OPERATIONS.get(first_text(values, "gen_ai.operation.name"), "chat"),
        input_tokens=_count(values, "gen_ai.usage.input_tokens"),
        output_tokens=_count(values, "gen_ai.usage.output_tokens"),
        reasoning_tokens=_count(values, "gen_ai.usage.reasoning.output_tokens"),
        cached_tokens=_count(values, "gen_ai.usage.cache_read.input_tokens"),
        stream=first_chunk is not None,
        first_chunk_ms=None if first_chunk is None else as_count(first_chunk),
        duration_ms=_count(values, "duration"),
        error=status_error(values.get("response_code")),
        user_agent=first_text(values, "user-agent"),
        client_address=first_text(values, "x-forwarded-for", "client.address"),
    )


def _count(values: dict[str, Any], name: str) -> int:
    return as_count(number_text(values.get(name)))
