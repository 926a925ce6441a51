"""Contributions on their way from accounts to pools: rows of sums, and rows of one request alone in a shorter form."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.columns import CONTRIBUTION, FIXED_POINT, SINGLE, SINGLE_BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import Int64Array, StructuredArray

_DAY_MINUTES: Final = 1_440
_ANGLES: Final = [2 * math.pi * minute / _DAY_MINUTES for minute in range(_DAY_MINUTES)]
SINE: Final = np.array([round(FIXED_POINT * math.sin(angle)) for angle in _ANGLES], np.int32)
COSINE: Final = np.array([round(FIXED_POINT * math.cos(angle)) for angle in _ANGLES], np.int32)
_SAME: Final = (
    "pool",
    "customer",
    "account",
    "account_requests_before",
    "first_seen",
    "created_at",
    "network",
    "payment",
    "hop",
    "family",
    "verified",
    "output_tokens",
    "log_input",
    "log_output",
    "projection",
)


@dataclass(frozen=True, slots=True)
class Contributions:
    """``rows`` are of ``CONTRIBUTION``, ``singles`` of ``SINGLE``. All of them add up, in any order.

    Where they lie sorted by the partition that owns their pool, ``firsts`` tells where each one's begin, shape
    ``(2, partitions + 1)``: singles, then rows.
    """

    rows: StructuredArray = field(default_factory=lambda: np.zeros(0, CONTRIBUTION))
    singles: StructuredArray = field(default_factory=lambda: np.zeros(0, SINGLE))
    firsts: Int64Array | None = None

    def __len__(self) -> int:
        return len(self.rows) + len(self.singles)

    def written_out(self) -> StructuredArray:
        """Give all as rows of ``CONTRIBUTION``."""
        return np.concatenate([self.rows, write_out(self.singles)]) if len(self.singles) else self.rows

    @staticmethod
    def join(parts: Sequence[Contributions]) -> Contributions:
        """Put contributions after one another."""
        return Contributions(
            np.concatenate([part.rows for part in parts]), np.concatenate([part.singles for part in parts])
        )


def write_out(singles: StructuredArray) -> StructuredArray:
    """Write rows of ``SINGLE`` as rows of ``CONTRIBUTION``."""
    rows = np.zeros(len(singles), CONTRIBUTION)
    for name in _SAME:
        rows[name] = singles[name]
    rows["requests"] = 1
    rows["account_requests"] = singles["account_requests_before"] + 1
    rows["log_output_squared"] = rows["log_output"] * rows["log_output"]
    rows["projection_squared"] = np.einsum("ij,ij->i", rows["projection"], rows["projection"])
    for bit, name in enumerate(SINGLE_BITS):
        values = singles["bits"] >> np.uint32(bit) & np.uint32(1)
        if name.startswith("cue_"):
            rows["cues"][:, int(name.removeprefix("cue_"))] = values
        else:
            rows[name] = values
    rows["hour_sine"], rows["hour_cosine"] = SINE[singles["minute"]], COSINE[singles["minute"]]
    each = np.arange(len(singles))
    rows["residuals"][each, singles["turn_place"]] = singles["turn_rank"]
    rows["responses"][each, singles["response_place"]] = singles["response_rank"]
    return rows
