"""OTLP logs as JSON: the GenAI event of OpenTelemetry's semantic conventions (v1.41.0), one request a log record.

``unfold`` takes an export (``resourceLogs``) apart; the collector's Kafka exporter and its OTLP/HTTP exporter both
write exports. The account is ``user.id``, else ``enduser.id``, else ``gen_ai.conversation.id``: raw values, and keyed.
Text is there where the application opted in, as ``gen_ai.input.messages`` and ``gen_ai.output.messages`` (values, or
JSON text). Seconds are ``gen_ai.response.time_to_first_chunk`` and ``gen_ai.client.operation.duration``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from detection.text.conversation import Conversation, Turn
from services.gateway.formats.messages import read_messages
from services.gateway.formats.openai import read_time
from services.gateway.formats.values import first_text, json_value, number_text, objects_within
from services.gateway.parsed import ParsedRequest, RejectedRecord, as_count, as_number, as_object, as_text, as_time_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

_NANOSECONDS: Final = 1e9
_DEPTH: Final = 16
_ACCOUNT: Final = ("user.id", "enduser.id", "gen_ai.conversation.id")


def unfold(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the log records of an export, each with the attributes of its resource; a single record gives itself."""
    if "resourceLogs" not in record:
        yield record
        return
    for resource in objects_within(record["resourceLogs"]):
        shared = as_object(resource.get("resource")).get("attributes")
        for scope in objects_within(resource.get("scopeLogs")):
            for entry in objects_within(scope.get("logRecords")):
                yield {**entry, "resourceAttributes": shared}


def parse(record: dict[str, Any]) -> ParsedRequest:
    """Parse one log record; raises RejectedRecord: ``schema``, ``no_account`` or ``no_time``."""
    values = _attributes(record.get("resourceAttributes")) | _attributes(record.get("attributes"))
    body = _plain(record.get("body"))
    values |= body if isinstance(body, dict) else {}
    if not any(name.startswith("gen_ai.") for name in values):
        raise RejectedRecord("schema", "the log record has no gen_ai attribute")
    account = first_text(values, *_ACCOUNT)
    if not account:
        raise RejectedRecord("no_account", "neither user.id nor gen_ai.conversation.id is given")
    first_chunk = _number(values, "gen_ai.response.time_to_first_chunk")
    system = read_messages(json_value(values.get("gen_ai.system_instructions")), role="system")
    turns = (*system, *read_messages(json_value(values.get("gen_ai.input.messages"))))
    reasons = _texts(json_value(values.get("gen_ai.response.finish_reasons")))
    limit = _number(values, "gen_ai.request.max_tokens")
    return ParsedRequest(
        natural_id=tuple(filter(None, (first_text(values, "gen_ai.response.id"), first_text(record, "spanId")))),
        time_unix_ms=_time(record),
        account_raw=account,
        organization_raw=first_text(values, "organization.id"),
        model=first_text(values, "gen_ai.request.model", "gen_ai.response.model"),
        provider=first_text(values, "gen_ai.provider.name", "gen_ai.system"),
        operation=_operation(first_text(values, "gen_ai.operation.name")),
        input_tokens=_count(values, "gen_ai.usage.input_tokens"),
        output_tokens=_count(values, "gen_ai.usage.output_tokens"),
        reasoning_tokens=_count(values, "gen_ai.usage.reasoning.output_tokens"),
        cached_tokens=_count(values, "gen_ai.usage.cache_read.input_tokens"),
        max_tokens=None if limit is None else as_count(limit),
        temperature=_number(values, "gen_ai.request.temperature"),
        top_p=_number(values, "gen_ai.request.top_p"),
        choices=max(1, _count(values, "gen_ai.request.choice.count")),
        stream=values.get("gen_ai.request.stream") is True or first_chunk is not None,
        finish_reasons=reasons,
        first_chunk_ms=None if first_chunk is None else as_count(first_chunk * 1000),
        duration_ms=as_count((_number(values, "gen_ai.client.operation.duration") or 0.0) * 1000),
        error=first_text(values, "error.type"),
        user_agent=first_text(values, "user_agent.original"),
        client_address=first_text(values, "client.address"),
        conversation=Conversation(turns, _answer(values), "content_filter" in reasons),
    )


def _answer(values: dict[str, Any]) -> Turn | None:
    said = read_messages(json_value(values.get("gen_ai.output.messages")), role="assistant")
    text = "\n".join(turn.text for turn in said if turn.text)
    attachments = tuple(extra for turn in said for extra in turn.attachments)
    return Turn("assistant", text, attachments) if text or attachments else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(filter(None, map(as_text, value if isinstance(value, list) else [value])))


def _time(record: dict[str, Any]) -> int:
    for name in ("timeUnixNano", "observedTimeUnixNano"):
        number = as_number(number_text(record.get(name)))
        if number:
            return as_time_ms(number / _NANOSECONDS)
    return read_time(record.get("timestamp"))


def _operation(name: str) -> str:
    return name if name in {"embeddings", "text_completion"} else "chat"


def _attributes(found: object) -> dict[str, Any]:
    """Read attributes: OTLP's list of keys and typed values, or a plain object."""
    if isinstance(found, dict):
        return found
    return {as_text(each.get("key")): _plain(each.get("value")) for each in objects_within(found)}


def _plain(value: object, depth: int = 0) -> Any:
    """Unwrap OTLP's AnyValue; what is none stays as it is, and what is nested beyond reading is left out."""
    if not isinstance(value, dict) or depth > _DEPTH:
        return value if depth <= _DEPTH else None
    for name in ("stringValue", "boolValue", "doubleValue"):
        if name in value:
            return value[name]
    if "intValue" in value:
        return number_text(value["intValue"])  # 64-bit integers are text in JSON.
    if isinstance(value.get("arrayValue"), dict):
        entries = value["arrayValue"].get("values")
        return [_plain(each, depth + 1) for each in entries] if isinstance(entries, list) else []
    if isinstance(value.get("kvlistValue"), dict):
        pairs = objects_within(value["kvlistValue"].get("values"))
        return {as_text(each.get("key")): _plain(each.get("value"), depth + 1) for each in pairs}
    return value


def _number(values: dict[str, Any], name: str) -> float | None:
    return as_number(number_text(values.get(name)))


def _count(values: dict[str, Any], name: str) -> int:
    return as_count(_number(values, name))
