"""The densest part of a pool: the customers that resemble one another most, and who may speak of a pool of strangers.

Workers hide in what honest strangers share: a popular client's settings, a big provider's network. The pool as a whole
is then as varied as its honest majority. But workers resemble one another more than strangers do, so the largest set of
customers within one small box of behaviour is looked at apart, against the same sets of honest pools: how it was found
is the same for both, so the choice itself proves nothing. Where fewer than half are alike, the pool is a crowd: what is
odd of it as a whole, be it one heavy customer's doing, is a claim about nobody in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from detection.columns import FIXED_POINT
from detection.pools.layout import SUM_PLACE
from detection.sketches.hyperloglog import estimate

if TYPE_CHECKING:
    from detection.columns import Float64Array, Int64Array, StructuredArray

LEAST: Final = 8  # Of fewer, some are always alike.
MOST_SHARE: Final = 0.9  # Where nearly all are alike, the pool is of one kind.
_LEAST_SHARE: Final = 0.5  # Of all customers: where more are alike, the pool may speak as a whole.
LOOKED_AT: Final = 256  # Customers of the smallest hashes: every pair of them is compared.
_STEADY: Final = 4  # Requests; of fewer, a mean says nothing.
# Half-widths of the box: ln out, ln in, ln n in nats, continued and distinct shares.
_BOX: Final = np.array([0.45, 0.6, 0.9, 0.2, 0.25])
_ROUNDS: Final = 3


class Alike(NamedTuple):
    """Who of a pool is alike: the ``part`` that is looked at apart, or whether the ``whole`` may speak; never both.

    ``part`` holds places among the members, ascending.
    """

    part: Int64Array
    whole: bool


def densest(members: StructuredArray) -> Alike:
    """Find one pool's densest customers. A pool of fewer than ``LEAST`` steady customers speaks as a whole."""
    requests = members["sums"][:, SUM_PLACE["requests"]]
    steady = np.flatnonzero(requests >= _STEADY)
    if len(steady) < LEAST:
        return Alike(steady[:0], whole=True)
    profile = _profile(members[steady]) / _BOX
    looked = np.argsort(members["hash"][steady], kind="stable")[:LOOKED_AT]
    centres = profile[looked]
    neighbours = np.zeros(len(looked), np.int64)
    for centre in centres:
        neighbours += (np.abs(centres - centre) <= 1.0).all(axis=1)
    # Of equals the first in the order of hashes, whatever the order of rows.
    middle = centres[int(np.argmax(neighbours))]
    inside = np.zeros(len(steady), bool)
    for _ in range(_ROUNDS):
        inside = (np.abs(profile - middle) <= 1.0).all(axis=1)
        if not inside.any():
            break
        middle = np.median(profile[inside], axis=0)
    found = steady[inside]
    if LEAST <= len(found) <= MOST_SHARE * len(members):
        return Alike(found, whole=False)
    return Alike(found[:0], whole=len(found) > _LEAST_SHARE * len(members))


def _profile(members: StructuredArray) -> Float64Array:
    sums = members["sums"].astype(np.float64)
    requests = sums[:, SUM_PLACE["requests"]]
    distinct = np.minimum(estimate(members["residuals"]), requests) / requests
    return np.stack(
        [
            sums[:, SUM_PLACE["log_output"]] / requests / FIXED_POINT,
            sums[:, SUM_PLACE["log_input"]] / requests / FIXED_POINT,
            np.log(requests),
            sums[:, SUM_PLACE["continued"]] / requests,
            distinct,
        ],
        axis=1,
    )
