"""Column layouts that travel between rooms: one place where every column has its name, unit and width.

Identifiers and hashes are unsigned 64-bit integers; 0 means "absent" everywhere (a keyed hash that comes out as 0 is
moved to 1 where it is made). Token logarithms are fixed point, so that sums are integers and merging is exact.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

StructuredArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.void]]
Int64Array: TypeAlias = NDArray[np.int64]
Float64Array: TypeAlias = NDArray[np.float64]
UInt64Array: TypeAlias = NDArray[np.uint64]

PROJECTION_DIMENSIONS: Final = 32
LADDER_WORDS: Final = (8, 16, 32, 64)
BOUNDARIES: Final = 4
FIXED_POINT: Final = 1024  # One nat, or one unit of a sine, is 1,024 steps.
RESIDUAL_REGISTERS: Final = 128
RESPONSE_REGISTERS: Final = 64


class Flag(IntFlag):
    """Bits of ``EVENT['flags']``. The first byte comes from text, the rest from the request's settings."""

    REFUSAL = 1 << 0  # The response declines.
    ECHO = 1 << 1  # The prompt contains an earlier response of this gateway's account.
    CUE_REASONING = 1 << 2  # The prompt asks for the steps, the chain of thought.
    CUE_SYNTHESIS = 1 << 3  # The prompt asks to make questions, instructions or data sets.
    CUE_GRADING = 1 << 4  # The prompt asks to grade, rank or compare answers.
    CUE_BOUNDARY = 1 << 5  # The prompt asks what the model may not do.
    CUE_IDENTITY = 1 << 6  # The prompt asks about the model itself, its rules or its system prompt.
    TEXT_UNAVAILABLE = 1 << 7  # The gateway redacted the text: every sketch column is 0.
    ERROR = 1 << 8
    REJECTED = 1 << 9  # Authentication or permission failed.
    LOGPROBS = 1 << 10
    LOGIT_BIAS = 1 << 11
    STREAM = 1 << 12
    MANY_CHOICES = 1 << 13  # More than one choice was asked for.
    MULTI_TURN = 1 << 14  # The prompt holds an earlier assistant turn.
    TOOLS = 1 << 15
    TRUNCATED = 1 << 16  # A finish reason is "length".
    REASONING = 1 << 17  # Reasoning tokens were billed.


CUES: Final = (
    Flag.CUE_REASONING,
    Flag.CUE_SYNTHESIS,
    Flag.CUE_GRADING,
    Flag.CUE_BOUNDARY,
    Flag.CUE_IDENTITY,
)

EVENT: Final = np.dtype(
    [
        ("time", "<i8"),  # Event time, ms since the epoch.
        ("account", "<u8"),
        ("organization", "<u8"),
        ("configuration", "<u8"),  # Model and sampling parameters.
        ("client", "<u8"),  # Client family.
        ("network", "<u8"),  # /24 or /48.
        ("address", "<u8"),
        ("system", "<u8"),  # Hash of the system prompt.
        ("prefix", "<u8", len(LADDER_WORDS)),  # Hashes of the user prompt's first 8, 16, 32, 64 words.
        ("suffix", "<u8", len(LADDER_WORDS)),
        ("last_turn", "<u8"),  # Exact hash of the last user turn.
        ("response", "<u8"),  # Exact hash of the response.
        ("bias", "<u8"),  # Hash of the logit_bias vector.
        ("boundaries", "<u8", BOUNDARIES),  # Hashes of the conversation up to its last message ends, deepest last.
        ("flags", "<u4"),
        ("input_tokens", "<i4"),
        ("output_tokens", "<i4"),
        ("reasoning_tokens", "<i4"),
        ("duration", "<i4"),  # ms.
        ("projection", "i1", PROJECTION_DIMENSIONS),
        ("spare", "<i4"),  # Keeps rows a multiple of 8 bytes: compiled loops read them as words.
    ]
)

ATTRIBUTES: Final = np.dtype(
    [
        ("account", "<u8"),
        ("created_at", "<i8"),  # ms since the epoch, 0 where unknown.
        ("organization", "<u8"),
        ("payment", "<u8"),
        ("signup_network", "<u8"),
        ("verified", "u1"),
    ]
)

# A whole number of 8-byte words, so that compiled loops reach every column by its place.
CONTRIBUTION: Final = np.dtype(
    [
        # Key: one row for each (hop, pool, customer, account); rows of one key add up.
        ("hop", "<i4"),  # Event time // hop length.
        ("family", "u1"),  # detection.families.Family
        ("verified", "u1"),  # Maximum: the account or its organisation is verified.
        ("spare", "u1", 2),
        ("pool", "<u8"),
        ("customer", "<u8"),  # Organisation where one is named, else the account.
        ("account", "<u8"),
        # Sums.
        ("log_input", "<i8"),  # Fixed point: sum of ln(1 + input tokens).
        ("log_output", "<i8"),
        ("log_output_squared", "<i8"),  # Sum of the squared fixed-point values.
        ("output_tokens", "<i8"),
        ("projection_squared", "<i8"),  # Sum of squared lengths.
        # Registers.
        ("account_requests_before", "<i8"),  # Minimum: the account's own count before the first of these requests.
        ("account_requests", "<i8"),  # Maximum: the account's own count after the last of these requests.
        ("first_seen", "<i8"),  # Minimum: ms since the epoch.
        ("created_at", "<i8"),  # Maximum; 0 where unknown.
        ("network", "<u8"),  # Maximum of the hashes, so that order does not matter.
        ("payment", "<u8"),
        # Sums.
        ("requests", "<i4"),
        ("young", "<i4"),  # Requests made while the account was under 14 days old.
        ("refusals", "<i4"),
        ("cues", "<i4", len(CUES)),
        ("echoes", "<i4"),
        ("logprobs", "<i4"),
        ("bursts", "<i4"),  # Requests that start under 1 s after the account's previous one.
        ("continued", "<i4"),  # Requests that continue the account's own earlier prompt.
        ("multi_turn", "<i4"),
        ("tools", "<i4"),
        ("errors", "<i4"),
        ("rejected", "<i4"),  # Requests whose authentication or permission failed.
        ("hour_sine", "<i4"),  # Fixed point.
        ("hour_cosine", "<i4"),
        ("projection", "<i4", PROJECTION_DIMENSIONS),
        # Registers.
        ("residuals", "u1", RESIDUAL_REGISTERS),  # HyperLogLog of last turns.
        ("responses", "u1", RESPONSE_REGISTERS),  # HyperLogLog of responses.
    ]
)

# The bits of SINGLE['bits'], in the order of CONTRIBUTION's counts from "young" to "rejected".
SINGLE_BITS: Final = (
    "young",
    "refusals",
    *(f"cue_{place}" for place in range(len(CUES))),
    "echoes",
    "logprobs",
    "bursts",
    "continued",
    "multi_turn",
    "tools",
    "errors",
    "rejected",
)

# A contribution of one request alone, as most are: a quarter of the bytes, and the same row once it is written out.
SINGLE: Final = np.dtype(
    [
        ("pool", "<u8"),
        ("customer", "<u8"),
        ("account", "<u8"),
        ("account_requests_before", "<i8"),
        ("first_seen", "<i8"),
        ("created_at", "<i8"),
        ("network", "<u8"),
        ("payment", "<u8"),
        ("hop", "<i4"),
        ("bits", "<u4"),  # SINGLE_BITS, from the lowest.
        ("output_tokens", "<i4"),
        ("log_input", "<u2"),
        ("log_output", "<u2"),
        ("minute", "<u2"),  # Of the day, UTC.
        ("family", "u1"),
        ("verified", "u1"),
        ("turn_place", "u1"),  # Register and rank that the last turn offers; rank 0 for none.
        ("turn_rank", "u1"),
        ("response_place", "u1"),
        ("response_rank", "u1"),
        ("projection", "i1", PROJECTION_DIMENSIONS),
    ]
)
