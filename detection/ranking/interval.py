"""Shares with what is known of them: the interval in which a share lies, from how often it was seen."""

from __future__ import annotations

import math
from typing import Final

_Z: Final = 1.959963984540054  # 95 %.


def wilson(confirmed: int, judged: int) -> tuple[float, float]:
    """Give the 95 % score interval of a share (Wilson 1927); nothing judged says nothing: 0 to 1."""
    if judged == 0:
        return 0.0, 1.0
    share, z2 = confirmed / judged, _Z * _Z
    middle = (share + z2 / (2 * judged)) / (1 + z2 / judged)
    half = _Z / (1 + z2 / judged) * math.sqrt(share * (1 - share) / judged + z2 / (4 * judged * judged))
    return max(0.0, middle - half), min(1.0, middle + half)
