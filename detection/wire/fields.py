"""The fields of request.v1 as the scanner knows them: names, kinds, limits, and the columns that they go to."""

from __future__ import annotations

from typing import Final

import numpy as np

from detection.columns import EVENT, Flag

(
    TAG,
    NAME,
    WHOLE,
    WHOLE_OR_NULL,
    NUMBER_OR_NULL,
    BOOLEAN,
    ACCOUNT,
    IDENTIFIER,
    NAMES,
    SKETCH,
    LADDER,
    PROJECTION,
    SEGMENTS,
    BOUNDARIES,
) = range(14)
# In the order in which a gateway writes them. The limit is of characters or of digits: fewer than the contract allows.
FIELDS: Final = (
    ("type", TAG, 0),
    ("event_id", NAME, 64),
    ("time_unix_ms", WHOLE, 15),
    ("account", ACCOUNT, 0),
    ("key_version", WHOLE, 4),
    ("organization", IDENTIFIER, 0),
    ("end_user", IDENTIFIER, 0),
    ("gen_ai_request_model", NAME, 128),
    ("gen_ai_provider_name", NAME, 128),
    ("gen_ai_operation_name", NAME, 128),
    ("gen_ai_usage_input_tokens", WHOLE, 9),
    ("gen_ai_usage_output_tokens", WHOLE, 9),
    ("gen_ai_usage_reasoning_output_tokens", WHOLE, 9),
    ("gen_ai_usage_cache_read_input_tokens", WHOLE, 9),
    ("gen_ai_request_max_tokens", WHOLE_OR_NULL, 9),
    ("gen_ai_request_temperature", NUMBER_OR_NULL, 32),
    ("gen_ai_request_top_p", NUMBER_OR_NULL, 32),
    ("gen_ai_request_choice_count", WHOLE, 9),
    ("gen_ai_request_stream", BOOLEAN, 0),
    ("gen_ai_response_finish_reasons", NAMES, 128),
    ("time_to_first_chunk_ms", WHOLE_OR_NULL, 9),
    ("duration_ms", WHOLE, 9),
    ("error_type", NAME, 128),
    ("client_family", NAME, 128),
    ("client_address", IDENTIFIER, 0),
    ("client_network", IDENTIFIER, 0),
    ("logprobs", BOOLEAN, 0),
    ("logit_bias", IDENTIFIER, 0),
    ("logit_bias_count", WHOLE, 9),
    ("tools_count", WHOLE, 9),
    ("multi_turn", BOOLEAN, 0),
    ("sketch", SKETCH, 0),
)
SKETCH_FIELDS: Final = (
    ("ladder", LADDER, 96),
    ("projection", PROJECTION, 44),
    ("segments", SEGMENTS, 172),
    ("boundaries", BOUNDARIES, 44),
    ("last_turn", IDENTIFIER, 0),
    ("response", IDENTIFIER, 0),
    ("flags", WHOLE, 2),
)
CONFIGURATION: Final = (
    "gen_ai_request_model",
    "gen_ai_request_temperature",
    "gen_ai_request_top_p",
    "gen_ai_request_max_tokens",
    "gen_ai_request_choice_count",
    "logprobs",
)
REQUIRED: Final = ("type", "event_id", "time_unix_ms", "account", "gen_ai_request_model")
MOST_NAMES: Final = 16

ALL: Final = (*FIELDS, *SKETCH_FIELDS)
OUTER: Final = len(FIELDS)
COUNT: Final = len(ALL)
SIZES: Final = np.array([len(name) for name, _, _ in ALL])
KINDS: Final = np.array([kind for _, kind, _ in ALL])
LIMITS: Final = np.array([limit for _, _, limit in ALL])
LETTERS: Final = np.array([list(name.encode().ljust(40, b"\0")) for name, _, _ in ALL], np.uint8)


def place_of_field(name: str) -> int:
    """Give a field's number, that of an outer field or of one of the sketch."""
    return [known for known, _, _ in ALL].index(name)


DEFAULTS: Final = np.zeros(COUNT, np.int64)
DEFAULTS[place_of_field("gen_ai_request_choice_count")] = 1
SETTINGS: Final = np.array([place_of_field(name) for name in CONFIGURATION])
CLIENT, ERROR_TYPE, FINISH, IN_SKETCH = (
    place_of_field(name) for name in ("client_family", "error_type", "gen_ai_response_finish_reasons", "sketch")
)
NEEDED: Final = sum(1 << place_of_field(name) for name in REQUIRED)
NEEDED_IN_SKETCH: Final = 1 << place_of_field("ladder") | 1 << place_of_field("projection")


def _word(name: str, width: int = 8) -> int:
    fields = EVENT.fields
    if fields is None:
        raise KeyError(name)
    return int(fields[name][1]) // width


# Which field goes into which column as it is: first words, then halves.
COLUMNS: Final = np.array(
    [
        (place_of_field(field), _word(column))
        for field, column in (
            ("time_unix_ms", "time"),
            ("account", "account"),
            ("organization", "organization"),
            ("client_network", "network"),
            ("client_address", "address"),
            ("logit_bias", "bias"),
            ("last_turn", "last_turn"),
            ("response", "response"),
        )
    ]
)
HALVES: Final = np.array(
    [
        (place_of_field(field), _word(column, 4))
        for field, column in (
            ("gen_ai_usage_input_tokens", "input_tokens"),
            ("gen_ai_usage_output_tokens", "output_tokens"),
            ("gen_ai_usage_reasoning_output_tokens", "reasoning_tokens"),
            ("duration_ms", "duration"),
        )
    ]
)
# Where a field is above its number, the event has the flag.
SWITCHES: Final = (
    (Flag.LOGPROBS, "logprobs", 0),
    (Flag.LOGIT_BIAS, "logit_bias_count", 0),
    (Flag.STREAM, "gen_ai_request_stream", 0),
    (Flag.MANY_CHOICES, "gen_ai_request_choice_count", 1),
    (Flag.MULTI_TURN, "multi_turn", 0),
    (Flag.TOOLS, "tools_count", 0),
    (Flag.REASONING, "gen_ai_usage_reasoning_output_tokens", 0),
)
FLAGGED: Final = np.array([(place_of_field(field), least, int(flag)) for flag, field, least in SWITCHES])
TEXT_FLAGS: Final = place_of_field("flags")
FLAGS: Final = _word("flags", 4)
CONFIGURATION_WORD, CLIENT_WORD = _word("configuration"), _word("client")
LADDER_AT, PROJECTION_AT, BOUNDARIES_AT = _word("system", 1), _word("projection", 1), _word("boundaries", 1)
