"""Members of a suspicious pool are chosen one by one, not swept in: being named is a claim about one customer.

A pool that looks like one operator's still holds passers-by. The core is what most of the pool's steady customers
agree on; a customer is named when it lies within the core's spread, and how strongly depends on how typical of the core
it is, how much of its own traffic goes to the pool, and how sure the pool itself is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.columns import FIXED_POINT
from detection.pools.layout import SUM_PLACE
from detection.sketches.hyperloglog import estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detection.columns import Float64Array, StructuredArray
    from detection.config import PoolLane

_MAD_TO_SD: Final = 1.4826  # Of a normal distribution.
_LEAST_SD: Final = 0.15  # Nats; a core that agrees to the last digit must not make its own noise an exclusion.
_GATES: Final = 3  # The first columns of ``_profile`` decide; the others shade the strength.
_BACKGROUND: Final = 3.0  # Strangers vary about the core's centre three times as widely as the core does.
_AGREEMENT: Final = 0.5  # The profile's columns are correlated: six of them weigh as three.
_HALF_EVIDENCE: Final = 1.5  # Requests at which a customer's own evidence counts half.


@dataclass(frozen=True, slots=True)
class Core:
    """Which of a pool's members are named. Arrays run over the pool's members."""

    named: NDArray[np.bool_]
    strength: Float64Array
    whole: bool  # The core is enough of the pool to speak for it.


def own_share(members: StructuredArray) -> Float64Array:
    """Give the share of each customer's own traffic that goes to the pool, of the accounts that are kept, 0..1.

    Own traffic is what the accounts sent between their first and last request here, both included.
    """
    here = members["account_requests"].sum(axis=1)
    spans = (members["account_after"] - members["account_before"]).sum(axis=1)
    share: Float64Array = np.minimum(here / np.maximum(spans, 1), 1.0)
    return share


def choose(members: StructuredArray, lane: PoolLane, confidence: float, *, shared_by_design: bool = True) -> Core:
    """Choose among one pool's members; ``confidence`` in 0..1 is the pool's own.

    What strangers share by design (settings, a network) says something of a customer only where it is much of what the
    customer does; nobody sends an operator's template by chance, however much else he sends.
    """
    requests = members["sums"][:, SUM_PLACE["requests"]]
    share = own_share(members)
    steady = ((share >= lane.member_share) | (not shared_by_design)) & (requests >= lane.member_requests)
    if steady.sum() < lane.minimum_customers:
        return Core(np.zeros(len(members), bool), np.zeros(len(members)), whole=False)
    deviations = _deviations(_profile(members), steady)
    near = (deviations[:, :_GATES] <= lane.member_deviations).all(axis=1)
    named = steady & near
    # Two explanations of a customer: a draw from the core, or from a background that is wider on every axis.
    ratio = np.log(_BACKGROUND) - deviations**2 / 2.0 * (1.0 - _BACKGROUND**-2)
    odds = _AGREEMENT * ratio.sum(axis=1)
    typical = 1.0 / (1.0 + np.exp(-np.clip(odds, -30.0, 30.0)))
    evidence = requests / (requests + _HALF_EVIDENCE)
    own = np.sqrt(share) if shared_by_design else np.ones(len(share))
    strength = np.where(named, confidence * typical * own * evidence, 0.0)
    return Core(named, strength, whole=bool(named.sum() >= lane.core_share * len(members)))


def _profile(members: StructuredArray) -> Float64Array:
    """Describe each customer: ln out, ln n, ln out/in; then conversation, repetition, spread of the hours."""
    sums = members["sums"].astype(np.float64)
    requests = sums[:, SUM_PLACE["requests"]]
    output = sums[:, SUM_PLACE["log_output"]] / requests / FIXED_POINT
    given = sums[:, SUM_PLACE["log_input"]] / requests / FIXED_POINT
    hours = np.hypot(sums[:, SUM_PLACE["hour_sine"]], sums[:, SUM_PLACE["hour_cosine"]]) / requests / FIXED_POINT
    distinct = np.minimum(estimate(members["residuals"]), requests) / requests
    return np.stack(
        [output, np.log(requests), output - given, sums[:, SUM_PLACE["continued"]] / requests, distinct, hours], axis=1
    )


def _deviations(profile: Float64Array, steady: NDArray[np.bool_]) -> Float64Array:
    """Give robust standard deviations from the steady customers' medians, shape of ``profile``."""
    centre = np.median(profile[steady], axis=0)
    spread = _MAD_TO_SD * np.median(np.abs(profile[steady] - centre), axis=0)
    deviations: Float64Array = np.abs(profile - centre) / np.maximum(spread, _LEAST_SD)
    return deviations
