"""The threshold of a pool by its size: whoever accuses more people must be surer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from detection.config import PoolLane

_FEW: Final = 8  # Customers for whom the configured threshold stands.
_MANY: Final = 64  # Beyond, the evidence of a large pool has outgrown any threshold that protects a crowd.
_TWELFTH: Final = 1.0 / 12.0


def threshold_of(customers: float, lane: PoolLane) -> float:
    """Give the threshold of a pool of so many customers, in the configured one's unit.

    Of honest pools half as many reach a score that is a twelfth of the threshold higher. A pool of twice the customers
    must score that much more: it is wrong half as often, so that no more people bear the harm.
    """
    doublings = math.log2(min(max(customers, _FEW), _MANY) / _FEW)
    return round(lane.threshold * (1.0 + doublings * _TWELFTH), 4)
