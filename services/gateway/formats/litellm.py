"""LiteLLM's StandardLoggingPayload, as its custom callback (one a line) and its generic API (JSON arrays) write it.

The account is the credential, ``metadata.user_api_key_hash``. LiteLLM hashes keys that start with ``sk-`` and passes
others as they are, so the value counts as raw and is keyed like any other. The organisation is ``user_api_key_org_id``,
else the team. Failures carry no tokens and no address; ``turn_off_message_logging`` writes ``redacted-by-litellm`` in
place of text. The call's own id may be set by a client's header, so the event's id also takes account and time.
"""

from __future__ import annotations

from typing import Any, Final

from services.gateway.formats.messages import conversation_of, read_messages
from services.gateway.formats.openai import finish_reasons, read_time, request_settings
from services.gateway.parsed import ParsedRequest, RejectedRecord, as_count, as_object, as_text

_OPERATIONS: Final = {"embedding": "embeddings", "text_completion": "text_completion"}


def parse(record: dict[str, Any]) -> ParsedRequest:
    """Parse one payload; raises RejectedRecord: ``schema``, ``no_account`` or ``no_time``."""
    metadata = record.get("metadata")
    if not isinstance(metadata, dict):
        raise RejectedRecord("schema", "metadata is no object")
    account = as_text(metadata.get("user_api_key_hash"))
    if not account:
        raise RejectedRecord("no_account", "metadata.user_api_key_hash is empty")
    start = read_time(record.get("startTime"))
    settings = as_object(record.get("model_parameters"))
    usage = as_object(metadata.get("usage_object"))
    response = record.get("response")
    stream = bool(record.get("stream")) or bool(settings.get("stream"))
    turns = read_messages(record.get("messages"))
    return ParsedRequest(
        natural_id=tuple(as_text(record.get(name)) for name in ("litellm_call_id", "id")),
        time_unix_ms=start,
        account_raw=account,
        organization_raw=as_text(metadata.get("user_api_key_org_id")) or as_text(metadata.get("user_api_key_team_id")),
        end_user_raw=as_text(metadata.get("user_api_key_end_user_id")) or as_text(record.get("end_user")),
        model=as_text(record.get("model_group")) or as_text(record.get("model")),
        provider=as_text(record.get("custom_llm_provider")),
        operation=_OPERATIONS.get(as_text(record.get("call_type")).removeprefix("a"), "chat"),
        input_tokens=as_count(record.get("prompt_tokens")),
        output_tokens=as_count(record.get("completion_tokens")),
        reasoning_tokens=as_count(as_object(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        cached_tokens=as_count(as_object(usage.get("prompt_tokens_details")).get("cached_tokens")),
        stream=stream,
        finish_reasons=finish_reasons(as_object(response)),
        first_chunk_ms=_since(start, record.get("completionStartTime")) if stream else None,
        duration_ms=_since(start, record.get("endTime")) or 0,
        error=_error(record),
        user_agent=as_text(record.get("user_agent")) or as_text(metadata.get("user_agent")),
        client_address=as_text(record.get("requester_ip_address")) or as_text(metadata.get("requester_ip_address")),
        conversation=conversation_of(turns, response),
        **request_settings(settings),
    )


def _since(start: int, value: object) -> int | None:
    try:
        return max(0, read_time(value) - start)
    except RejectedRecord:
        return None


def _error(record: dict[str, Any]) -> str:
    if record.get("status") != "failure":
        return ""
    information = as_object(record.get("error_information"))
    code = as_text(information.get("error_code"))
    return code if code.isdigit() else as_text(information.get("error_class")) or "Exception"
