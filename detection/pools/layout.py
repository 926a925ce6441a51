"""State rows of the pools job: one row for each admitted pool, one for each customer that its sample keeps.

Everything is an integer sum, a minimum, a maximum or a bottom-k set, so merging is exact and order-free. Rows are their
own checkpoint: a changelog value is ``VERSION`` in one byte, then the row's bytes.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detection.columns import CUES, PROJECTION_DIMENSIONS, RESIDUAL_REGISTERS, RESPONSE_REGISTERS

VERSION: Final = 1
ACCOUNTS_KEPT: Final = 4  # Accounts kept for each customer: those of the smallest ids.
NO_CUT: Final = np.uint64(0xFFFFFFFFFFFFFFFF)  # The sample holds every customer.

# Columns of CONTRIBUTION that add up, in the order of MEMBER["sums"]; the cues follow them.
SCALAR_SUMS: Final = (
    "requests",
    "young",
    "refusals",
    "echoes",
    "logprobs",
    "bursts",
    "continued",
    "multi_turn",
    "tools",
    "errors",
    "hour_sine",
    "hour_cosine",
    "log_input",
    "log_output",
    "log_output_squared",
    "output_tokens",
    "projection_squared",
)
SUM_PLACE: Final[dict[str, int]] = {name: place for place, name in enumerate(SCALAR_SUMS)}
CUES_PLACE: Final = len(SCALAR_SUMS)
SUMS: Final = len(SCALAR_SUMS) + len(CUES)

MEMBER: Final = np.dtype(
    [
        ("pool", "<u8"),
        ("customer", "<u8"),
        ("hash", "<u8"),  # Mixed hash of the customer: the same in every pool, so that samples are coordinated.
        ("sums", "<i8", SUMS),
        ("first_seen", "<i8"),  # Minimum over the accounts, ms.
        ("created_at", "<i8"),  # Maximum; 0 where unknown.
        ("network", "<u8"),  # Maximum of the hashes.
        ("payment", "<u8"),
        ("projection", "<i4", PROJECTION_DIMENSIONS),
        ("account", "<u8", ACCOUNTS_KEPT),  # Ascending; 0 where there is none.
        ("account_requests", "<i8", ACCOUNTS_KEPT),  # Of that account, in this pool.
        ("account_before", "<i8", ACCOUNTS_KEPT),  # The account's own count before its first request here.
        ("account_after", "<i8", ACCOUNTS_KEPT),  # The account's own count after its last request here.
        ("residuals", "u1", RESIDUAL_REGISTERS),
        ("responses", "u1", RESPONSE_REGISTERS),
        ("verified", "u1"),
        ("more_accounts", "u1"),  # 1 where the customer has more accounts here than are kept.
        ("spare", "u1", 6),  # Keeps rows a multiple of 8 bytes.
    ]
)

POOL: Final = np.dtype(
    [
        ("pool", "<u8"),
        ("cut", "<u8"),  # Largest hash of a full sample; NO_CUT while every customer fits.
        ("requests", "<i8"),  # Exact, whatever the sample holds.
        ("verified_requests", "<i8"),
        ("young_requests", "<i8"),
        ("scored_requests", "<i8"),  # Evidence at the last scoring of this window.
        ("window_hop", "<i4"),  # First hop of the growing window.
        ("last_hop", "<i4"),
        ("members", "<i4"),
        ("family", "u1"),
        ("spare", "u1", 3),
    ]
)
