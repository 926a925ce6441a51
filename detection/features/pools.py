"""Pool features: how far a pool's customers are exchangeable, and what they ask for.

Organic customers differ from one another: in volume, hour, length and content, more than chance would have it. Workers
behind one dispatcher do not. Each feature is one statement of that, over the pool's sampled customers in its growing
window, by the bound that speaks for the customers (``detection.features.bounds``). NaN means "cannot be told from this
evidence" and adds nothing to a score.

Notation: n_a requests of customer a; N their sum; k customers in the sample; K customers in the pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from detection.columns import FIXED_POINT
from detection.families import FAMILIES
from detection.features.bounds import (
    LEAST_WITHIN,
    Groups,
    greatest_icc,
    greatest_log_f,
    greatest_share,
    greatest_volume_spread,
    least_mean,
    least_share,
)
from detection.pools.layout import CUES_PLACE, SUM_PLACE
from detection.sketches.hyperloglog import estimate

if TYPE_CHECKING:
    from detection.columns import Float64Array, Int64Array, StructuredArray

DAY_MS: Final = 86_400_000
NEW_DAYS: Final = 2
CONTENT_DIMENSIONS: Final = 8  # Of the projection's 32 that vary independently in text: about so many.
_TINY: Final = 1e-9

Aspect = Literal[
    "volume", "hours", "lengths", "content", "conversation", "novelty", "yield", "purpose", "pace", "payment", "context"
]
# Where customers of their own differ, and workers of one operator do not.
EXCHANGEABLE: Final = frozenset({"volume", "hours", "lengths", "content", "conversation"})
# What was asked before teaches a copy nothing: test suites and dashboards repeat themselves, harvests hardly.
ALIBIS: Final = EXCHANGEABLE | {"novelty"}


@dataclass(frozen=True, slots=True)
class PoolFeature:
    """One row of the catalogue.

    Features of one aspect say nearly the same, so the strongest of them speaks. ``context`` is reported beside a
    finding and is no evidence in itself: honest crowds are young, and behind one network, as well.
    """

    name: str
    formula: str
    direction: Literal["high", "low"]
    small_samples: str
    aspect: Aspect

    @property
    def scored(self) -> bool:
        """Tell whether it counts in the score."""
        return self.aspect != "context"

    @property
    def exchangeability(self) -> bool:
        """Tell whether it says how far customers are interchangeable."""
        return self.aspect in EXCHANGEABLE

    @property
    def alibi(self) -> bool:
        """Tell whether its honest side counts against suspicion."""
        return self.aspect in ALIBIS


_RATIO: Final = "a ratio of sums: defined from one request on"
_LEAST: Final = "least value at 90 %, customers as clusters, one imagined who has none; NaN for one customer"
_LEAST_MEAN: Final = "least value at 90 %, customers as clusters; NaN for one customer"
_WITHIN: Final = (
    f"greatest value at 90 %; NaN with fewer than 2 customers or {LEAST_WITHIN} requests beyond the first of each"
)


def _purpose(name: str, what: str) -> PoolFeature:
    return PoolFeature(name, f"{what} / N", "high", _LEAST, "purpose")


CATALOGUE: Final[tuple[PoolFeature, ...]] = (
    PoolFeature(
        "volume_spread",
        "sqrt(max(var n_a - mean n_a, 0)) / mean n_a, var with k - 1",
        "low",
        "greatest value of the variance at 90 %; NaN with fewer than 2 customers",
        "volume",
    ),
    PoolFeature(
        "content_f",
        "ln(mean square between customers / within customers) of the 32-d projection",
        "low",
        f"{_WITHIN}; NaN where all prompts project alike or no text was seen",
        "content",
    ),
    PoolFeature("icc_output", "ICC(1) of ln(1 + tokens out) by customer", "low", _WITHIN, "lengths"),
    PoolFeature("icc_hour", "ICC(1) of (sin, cos) of the hour by customer", "low", _WITHIN, "hours"),
    PoolFeature(
        "own_prefix",
        "requests that continue the customer's own earlier prompt / N",
        "low",
        "greatest value at 90 %, customers as clusters, one imagined who only converses; NaN for one customer",
        "conversation",
    ),
    PoolFeature(
        "self_repeat",
        "1 - sum of distinct last turns of each customer / N",
        "low",
        "NaN where no text was seen; each count is capped at n_a",
        "novelty",
    ),
    PoolFeature(
        "cross_overlap",
        "1 - distinct last turns of the pool / sum of distinct last turns of each customer",
        "low",
        "NaN where no text was seen; 0 where the sketches' error would make it negative",
        "novelty",
    ),
    PoolFeature(
        "response_distinct",
        "sum of distinct responses of each customer / N",
        "high",
        "NaN where no response was seen; each count is capped at n_a",
        "novelty",
    ),
    PoolFeature("log_out_in", "mean ln((1 + tokens out) / (1 + tokens in))", "high", _LEAST_MEAN, "yield"),
    PoolFeature("log_out", "mean ln(1 + tokens out)", "high", _LEAST_MEAN, "yield"),
    _purpose("cue_reasoning", "requests that ask for the steps"),
    _purpose("cue_synthesis", "requests that ask to make questions or data"),
    _purpose("cue_grading", "requests that ask to grade or compare"),
    _purpose("cue_boundary", "requests that ask what the model may not do"),
    _purpose("cue_identity", "requests that ask about the model itself"),
    _purpose("refusal_share", "refused requests"),
    _purpose("logprob_share", "requests with logprobs"),
    _purpose("response_echo", "requests whose prompt holds an earlier response"),
    PoolFeature("burst_share", "requests under 1 s after the account's previous one / N", "high", _LEAST, "pace"),
    PoolFeature(
        "payment_concentration",
        "ln(1 + mean co-members on the customer's payment attribute x (K - 1) / (k - 1))",
        "high",
        "NaN where no payment is known, and for pools whose key is the payment",
        "payment",
    ),
    PoolFeature(
        "network_concentration",
        "ln(1 + mean co-members on the customer's network x (K - 1) / (k - 1))",
        "high",
        "NaN where no network is known, and for pools whose key is the network",
        "context",
    ),
    PoolFeature("young_share", "requests of accounts under 14 days / N", "high", _RATIO, "context"),
    PoolFeature(
        "new_rate",
        "customers under 2 days / customers of known age",
        "high",
        "NaN where no age is known: first sight tells an age only 2 days after observation began",
        "context",
    ),
)
NAMES: Final = tuple(feature.name for feature in CATALOGUE)
SCORED: Final = np.array([feature.scored for feature in CATALOGUE])
_LEAST_SHARES: Final = (
    ("cue_reasoning", CUES_PLACE),
    ("cue_synthesis", CUES_PLACE + 1),
    ("cue_grading", CUES_PLACE + 2),
    ("cue_boundary", CUES_PLACE + 3),
    ("cue_identity", CUES_PLACE + 4),
    ("refusal_share", SUM_PLACE["refusals"]),
    ("logprob_share", SUM_PLACE["logprobs"]),
    ("burst_share", SUM_PLACE["bursts"]),
    ("response_echo", SUM_PLACE["echoes"]),
)


@dataclass(frozen=True, slots=True)
class PoolBatch:
    """Pools to describe: their members, grouped by pool and sorted by customer, and where each group starts."""

    members: StructuredArray
    starts: Int64Array
    customers: Float64Array  # K of each pool.
    families: Int64Array
    time_ms: int  # End of the hop.
    observed_since_ms: int  # When this partition saw its first hop.


def pool_features(batch: PoolBatch) -> Float64Array:
    """Compute every feature of the catalogue, shape ``(pools, len(NAMES))``; every group has a member."""
    members, starts = batch.members, batch.starts
    features = np.full((len(starts), len(NAMES)), np.nan)
    sums = members["sums"]
    totals = np.add.reduceat(sums, starts, axis=0)
    requests = sums[:, SUM_PLACE["requests"]].astype(np.float64)
    size = np.diff(starts, append=len(members)).astype(np.float64)
    total = totals[:, SUM_PLACE["requests"]].astype(np.float64)
    groups = Groups(starts, size, requests, total)

    def put(name: str, values: Float64Array) -> None:
        features[:, NAMES.index(name)] = values

    for name, place in _LEAST_SHARES:
        put(name, least_share(groups, sums[:, place].astype(np.float64)))
    put("own_prefix", greatest_share(groups, sums[:, SUM_PLACE["continued"]].astype(np.float64)))
    put("young_share", totals[:, SUM_PLACE["young"]] / total)
    output, given = (sums[:, SUM_PLACE[name]].astype(np.float64) / FIXED_POINT for name in ("log_output", "log_input"))
    put("log_out", least_mean(groups, output))
    put("log_out_in", least_mean(groups, output - given))
    put("volume_spread", greatest_volume_spread(groups))
    own = sums[:, SUM_PLACE["log_output"]].astype(np.float64)[:, None]
    put("icc_output", greatest_icc(groups, own, sums[:, SUM_PLACE["log_output_squared"]].astype(np.float64)))
    hours = sums[:, [SUM_PLACE["hour_sine"], SUM_PLACE["hour_cosine"]]].astype(np.float64)
    put("icc_hour", greatest_icc(groups, hours, requests * FIXED_POINT**2))
    squares = sums[:, SUM_PLACE["projection_squared"]].astype(np.float64)
    put("content_f", greatest_log_f(groups, members["projection"].astype(np.float64), squares, CONTENT_DIMENSIONS))
    distinct = np.minimum(estimate(members["residuals"]), requests)
    each = np.add.reduceat(distinct, starts)
    pooled = estimate(np.maximum.reduceat(members["residuals"], starts, axis=0))
    put("self_repeat", np.where(each > 0, 1.0 - each / total, np.nan))
    put("cross_overlap", np.where(each > 0, np.maximum(1.0 - pooled / np.maximum(each, _TINY), 0.0), np.nan))
    answers = np.add.reduceat(np.minimum(estimate(members["responses"]), requests), starts)
    put("response_distinct", np.where(answers > 0, answers / total, np.nan))
    put("new_rate", _new_rate(batch, groups))
    put("network_concentration", _concentration(batch, groups, "network"))
    put("payment_concentration", _concentration(batch, groups, "payment"))
    return features


def _new_rate(batch: PoolBatch, groups: Groups) -> Float64Array:
    limit = batch.time_ms - NEW_DAYS * DAY_MS
    created, seen = batch.members["created_at"], batch.members["first_seen"]
    known = (created > 0) | (batch.observed_since_ms <= limit)
    new = np.where(created > 0, created, seen) > limit
    counted = groups.sum(known.astype(np.float64))
    return groups.sum((new & known).astype(np.float64)) / np.where(counted > 0, counted, np.nan)


def _concentration(batch: PoolBatch, groups: Groups, attribute: Literal["network", "payment"]) -> Float64Array:
    values = batch.members[attribute]
    pool = np.repeat(np.arange(len(groups.starts)), groups.size.astype(np.int64))
    order = np.lexsort((values, pool))
    new = np.ones(len(order), bool)
    new[1:] = (values[order][1:] != values[order][:-1]) | (pool[order][1:] != pool[order][:-1])
    run = np.cumsum(new) - 1
    others = np.zeros(len(order))
    others[order] = np.bincount(run)[run] - 1.0
    others[values == 0] = 0.0
    known = groups.sum((values != 0).astype(np.float64)) > 0
    keyed = {family for family, fact in FAMILIES.items() if fact.group == attribute}
    told = known & (groups.size > 1) & ~np.isin(batch.families, list(keyed))
    scale = (batch.customers - 1.0) / np.where(told, groups.size - 1.0, np.nan)
    return np.log1p(groups.sum(others) / groups.size * scale)
