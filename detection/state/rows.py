"""Layout of an account's row: what the accounts job remembers of one account, and how rows of older versions are read.

A row is its own checkpoint. Every field is a sum of integers, a maximum or minimum register, or the value at the
account's last request in offset order. All counts are since the account was first seen, unless a field says otherwise.
A change of layout raises ``VERSION`` and adds a reader of the version before.

Most accounts make few requests, so the sketches of a row come in two forms that say the same. The first ``LOGGED``
requests stand one by one in a log; from the next one on there are registers and histograms. ``ACCOUNT_ROW`` is the row
with its sketches written out. In memory a row is ``HEAD``, the log and one word of bookkeeping, and its registers lie
elsewhere once there are any. On disk a row is its first word, then for the head with the log a 64-bit mask of the words
that are not 0, and those words; where the mask's highest bit is set, the same follows for the registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION: Final = 2

PANES: Final = 2  # Hops that can be open at once while lateness is at most one hop.
RING: Final = 8  # Prompts that a conversation may go on from: more than clients interleave.
LOGGED: Final = 8  # Requests that are kept one by one before there are registers.
LOG_BYTES: Final = 12  # Of one logged request.
TURN_REGISTERS: Final = 128
RESPONSE_REGISTERS: Final = 64
TEMPLATE_REGISTERS: Final = 32
BIAS_REGISTERS: Final = 32
TEMPLATE_COUNTERS: Final = 32
CELL_BITS: Final = 8  # The signs of the projection's first 8 dimensions name one of 256 content cells.
CELL_WORDS: Final = (1 << CELL_BITS) // 64
HOURS: Final = 24

# In the order of the bits of detection.columns.Flag.
FLAG_COUNTERS: Final = (
    "refusals",
    "echoes",
    "cues_reasoning",
    "cues_synthesis",
    "cues_grading",
    "cues_boundary",
    "cues_identity",
    "text_unavailable",
    "errors",
    "rejected",
    "logprobs",
    "logit_bias",
    "streams",
    "many_choices",
    "multi_turn",
    "tools",
    "truncated",
    "reasoned",
)
COUNTERS: Final = (
    *FLAG_COUNTERS,
    "requests",
    "young",  # Requests made while the account was young.
    "bursts",  # Requests that start under 1 s after the account's previous one.
    "continued",  # Requests that continue one of the account's last RING prompts.
    "late",  # Requests whose own hop was closed already.
)
SUMS: Final = (
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "log_input",  # Fixed point: ln(1 + input tokens).
    "log_output",  # Fixed point: ln(1 + output tokens).
    "log_output_squared",  # Of the fixed-point values.
    "log_gap",  # Fixed point: ln(1 + ms since the account's previous request), over requests - 1 gaps.
    "log_gap_squared",
)

HEAD: Final = np.dtype(
    [
        ("version", "<u4"),
        ("verified", "<u4"),  # 1 where the attributes say so.
        ("account", "<u8"),
        ("asof", "<i8"),  # Offset of the account's last request that is counted here; -1 for none.
        # From account-attributes, newest wins.
        ("created_at", "<i8"),  # ms since the epoch, 0 where unknown.
        ("attributes_organization", "<u8"),
        ("payment", "<u8"),
        ("place", "<u8"),  # Pool of the network and configuration of the last request that named both; 0 for none.
        # Times in ms since the epoch.
        ("first_seen", "<i8"),  # Of the first request in offset order; 0 before it.
        ("last_seen", "<i8"),  # Maximum.
        ("previous_time", "<i8"),  # Of the last request in offset order.
        ("organization", "<u8"),  # Maximum of those that requests named.
        *[(name, "<i8") for name in SUMS],
        ("pane_input", "<i8", PANES),  # Tokens of the pane's hop; pane = hop % PANES.
        ("pane_output", "<i8", PANES),
        ("prompts", "<u8", RING),  # Deepest boundary of request i at i % RING.
        *[(name, "<i4") for name in COUNTERS],
        ("learned_hop", "<i4"),  # Hop in which the half-space trees last learned the account, plus 1; 0 for never.
        ("pane_hop", "<i4", PANES),
        ("pane_requests", "<i4", PANES),
        ("pane_errors", "<i4", PANES),
        ("pane_late", "<i4", PANES),
    ]
)
DENSE: Final = np.dtype(
    [
        ("cells", "<u8", CELL_WORDS),  # Bit map of content cells.
        ("hours", "<i4", HOURS),  # Requests by hour of the day, UTC.
        ("templates_counted", "<i4", TEMPLATE_COUNTERS),  # Requests by a hash of the prompt's first 16 words.
        ("turns", "u1", TURN_REGISTERS),  # HyperLogLog of last turns.
        ("responses", "u1", RESPONSE_REGISTERS),
        ("templates", "u1", TEMPLATE_REGISTERS),  # HyperLogLog of the prompt's first 16 words.
        ("biases", "u1", BIAS_REGISTERS),  # HyperLogLog of logit_bias vectors.
    ]
)
ACCOUNT_ROW: Final = np.dtype(HEAD.descr + DENSE.descr)
WIDTH: Final = ACCOUNT_ROW.itemsize

HEAD_WORDS: Final = HEAD.itemsize // 8
LOG_WORDS: Final = LOGGED * LOG_BYTES // 8
DENSE_WORDS: Final = DENSE.itemsize // 8
ROW_WORDS: Final = HEAD_WORDS + LOG_WORDS + 1  # In memory; the last word holds the registers' slot and a dirty mark.

# Version 1: one form of row only, its sketches written out, the fields in another order.
ACCOUNT_ROW_V1: Final = np.dtype(
    [
        *HEAD.descr[: HEAD.names.index("prompts") + 1],  # type: ignore[union-attr]  # a structured type has names
        *DENSE.descr[:1],
        *HEAD.descr[HEAD.names.index("prompts") + 1 :],  # type: ignore[union-attr]  # as above
        *DENSE.descr[1:],
    ]
)


class RowVersionError(Exception):
    """A state row has a version that this release does not know: run a release that does, or rebuild the state."""


def offset_of(name: str) -> int:
    """Give a field's first byte in ``ACCOUNT_ROW``."""
    fields = ACCOUNT_ROW.fields
    if fields is None:
        raise KeyError(name)
    return int(fields[name][1])


def version_of(value: bytes) -> int:
    """Give the version of a row's bytes."""
    return int.from_bytes(value[:4], "little")


def upgrade_v1(values: Sequence[bytes]) -> np.ndarray[tuple[int, ...], np.dtype[np.void]]:
    """Write rows of version 1 as ``ACCOUNT_ROW``; raises RowVersionError where one has another length."""
    if any(len(value) != ACCOUNT_ROW_V1.itemsize for value in values):
        raise RowVersionError(f"a row of version 1 is not {ACCOUNT_ROW_V1.itemsize} bytes long")
    old = np.frombuffer(b"".join(values), ACCOUNT_ROW_V1)
    rows = np.empty(len(old), ACCOUNT_ROW)
    for name in ACCOUNT_ROW.names or ():
        rows[name] = old[name]
    rows["version"] = VERSION
    return rows
