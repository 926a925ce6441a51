"""How sure a link between customers is: the same for both halves of lane G, coincidences and handovers."""

from __future__ import annotations

from typing import Final

_LEAST: Final = 0.55  # Of a member with no more links than it takes.
_HALF_SURE: Final = 2.0  # Links beyond those at which half of the remaining doubt is gone.


def strength_of(beyond: int) -> float:
    """Give a member's strength, 0..1, by its links beyond those that it takes."""
    return round(1.0 - (1.0 - _LEAST) * _HALF_SURE / (_HALF_SURE + max(beyond, 0)), 4)
