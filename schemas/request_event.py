"""RequestEvent v1: one request to a model, as a gateway tells it. Sketches and keyed identifiers only, never text.

Names are OpenTelemetry's GenAI semantic conventions (v1.41.0) in snake case. Identifiers are HMACs of 64 bits as 16
lower-case hexadecimal digits, keyed at the gateway; "" means absent. Sketches are little-endian arrays in base64.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

# Python's ``$`` also matches before a final line feed; the look-ahead closes that, in every dialect alike.
Identifier = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{16})?(?!\n)$")]
AccountIdentifier = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}(?!\n)$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
TimeMs = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
ShortName = Annotated[str, msgspec.Meta(max_length=128)]


class Sketch(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """What is left of the text (``detection.text`` makes it).

    ``ladder`` is nine hashes of 8 bytes: system prompt; first 8, 16, 32, 64 words; last 8, 16, 32, 64 words of the user
    prompt without the system prompt (0 where it is shorter). ``projection`` is 32 signed bytes. ``segments`` is up to
    32 sentence hashes of 4 bytes. ``boundaries`` is up to 4 hashes of 8 bytes: the conversation up to the
    ends of its last messages, deepest last. ``flags`` are the bits of ``detection.columns.Flag`` that come from text.
    """

    ladder: Annotated[bytes, msgspec.Meta(min_length=72, max_length=72)]
    projection: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    segments: Annotated[bytes, msgspec.Meta(max_length=128)] = b""
    boundaries: Annotated[bytes, msgspec.Meta(max_length=32)] = b""
    last_turn: Identifier = ""
    response: Identifier = ""
    flags: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0


class RequestEvent(
    msgspec.Struct,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
    tag_field="type",
    tag="request.v1",
):
    """One request and its answer. ``event_id`` is the idempotency key; ``account`` is also the record's key."""

    event_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    time_unix_ms: TimeMs  # When the request reached the gateway.
    account: AccountIdentifier
    key_version: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 1
    organization: Identifier = ""
    end_user: Identifier = ""  # The account's own user, where the account is a reseller that names it.
    gen_ai_request_model: ShortName
    gen_ai_provider_name: ShortName = ""
    gen_ai_operation_name: ShortName = "chat"
    gen_ai_usage_input_tokens: Count = 0
    gen_ai_usage_output_tokens: Count = 0
    gen_ai_usage_reasoning_output_tokens: Count = 0
    gen_ai_usage_cache_read_input_tokens: Count = 0
    gen_ai_request_max_tokens: Count | None = None
    gen_ai_request_temperature: float | None = None
    gen_ai_request_top_p: float | None = None
    gen_ai_request_choice_count: Count = 1
    gen_ai_request_stream: bool = False
    gen_ai_response_finish_reasons: Annotated[list[ShortName], msgspec.Meta(max_length=16)] = []
    time_to_first_chunk_ms: Count | None = None
    duration_ms: Count = 0
    error_type: ShortName = ""  # HTTP status or exception class; "" where the request succeeded.
    client_family: ShortName = ""  # First product token of the user agent, lower case, without its version.
    client_address: Identifier = ""
    client_network: Identifier = ""  # /24 of IPv4, /48 of IPv6.
    logprobs: bool = False
    logit_bias: Identifier = ""  # Hash of the vector.
    logit_bias_count: Count = 0
    tools_count: Count = 0
    multi_turn: bool = False  # The prompt holds an earlier assistant turn.
    sketch: Sketch | None = None  # None where the gateway had no text.


class Heartbeat(
    msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False, tag_field="type", tag="heartbeat.v1"
):
    """Control record (null key): this partition's event time has reached ``time_unix_ms`` though no request says so."""

    time_unix_ms: TimeMs
