"""Pool features: how far a pool's customers are exchangeable, and what they ask for.

Organic customers differ from one another: in volume, hour, length and content, more than chance would have it. Workers
behind one dispatcher do not. Each feature is one statement of that, over the pool's sampled customers in its growing
window. NaN means "cannot be told from this evidence" and adds nothing to a score.

Notation: n_a requests of customer a; N their sum; k customers in the sample; K customers in the pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from detection.columns import FIXED_POINT
from detection.families import FAMILIES
from detection.pools.layout import CUES_PLACE, SUM_PLACE
from detection.sketches.hyperloglog import estimate

if TYPE_CHECKING:
    from detection.columns import Float64Array, Int64Array, StructuredArray

DAY_MS: Final = 86_400_000
NEW_DAYS: Final = 2
LEAST_WITHIN: Final = 8  # Degrees of freedom that a variance within customers needs.
_TINY: Final = 1e-9


@dataclass(frozen=True, slots=True)
class PoolFeature:
    """One row of the catalogue. ``scored`` is False for context: reported beside a finding, no evidence in itself."""

    name: str
    formula: str
    direction: Literal["high", "low"]
    small_samples: str
    exchangeability: bool = False
    scored: bool = True


_RATIO: Final = "a ratio of sums: defined from one request on"
_WITHIN: Final = f"NaN with fewer than 2 customers or {LEAST_WITHIN} requests beyond the first of each"

CATALOGUE: Final[tuple[PoolFeature, ...]] = (
    PoolFeature(
        "disp",
        "ln((var n_a + .5) / (mean n_a + .5)), var with k - 1",
        "low",
        "NaN with fewer than 2 customers",
        exchangeability=True,
    ),
    PoolFeature(
        "content_f",
        "ln(mean square between customers / within customers) of the 32-d projection",
        "low",
        f"{_WITHIN}; NaN where all prompts project alike or no text was seen",
        exchangeability=True,
    ),
    PoolFeature("icc_output", "ICC(1) of ln(1 + tokens out) by customer", "low", _WITHIN, exchangeability=True),
    PoolFeature("icc_hour", "ICC(1) of (sin, cos) of the hour by customer", "low", _WITHIN, exchangeability=True),
    PoolFeature("evenness", "1 - Gini(n_a)", "high", "NaN with fewer than 2 customers", exchangeability=True),
    PoolFeature(
        "self_repeat",
        "1 - sum of distinct last turns of each customer / N",
        "low",
        "NaN where no text was seen; each count is capped at n_a",
        exchangeability=True,
    ),
    PoolFeature(
        "cross_overlap",
        "1 - distinct last turns of the pool / sum of distinct last turns of each customer",
        "low",
        "NaN where no text was seen; 0 where the sketches' error would make it negative",
        exchangeability=True,
    ),
    PoolFeature("log_out_in", "mean ln((1 + tokens out) / (1 + tokens in))", "high", _RATIO),
    PoolFeature("log_out", "mean ln(1 + tokens out)", "high", _RATIO),
    PoolFeature(
        "response_distinct",
        "sum of distinct responses of each customer / N",
        "high",
        "NaN where no response was seen; each count is capped at n_a",
    ),
    PoolFeature(
        "own_prefix",
        "requests that continue the customer's own earlier prompt / N",
        "low",
        _RATIO,
        exchangeability=True,
    ),
    PoolFeature("young_share", "requests of accounts under 14 days / N", "high", _RATIO, scored=False),
    PoolFeature(
        "new_rate",
        "customers under 2 days / customers of known age",
        "high",
        "NaN where no age is known: first sight tells an age only 2 days after observation began",
        scored=False,
    ),
    PoolFeature(
        "network_concentration",
        "ln(1 + mean co-members on the customer's network x (K - 1) / (k - 1))",
        "high",
        "NaN where no network is known, and for pools whose key is the network",
    ),
    PoolFeature(
        "payment_concentration",
        "ln(1 + mean co-members on the customer's payment attribute x (K - 1) / (k - 1))",
        "high",
        "NaN where no payment is known, and for pools whose key is the payment",
    ),
    PoolFeature("cue_reasoning", "requests that ask for the steps / N", "high", _RATIO),
    PoolFeature("cue_synthesis", "requests that ask to make questions or data / N", "high", _RATIO),
    PoolFeature("cue_grading", "requests that ask to grade or compare / N", "high", _RATIO),
    PoolFeature("cue_boundary", "requests that ask what the model may not do / N", "high", _RATIO),
    PoolFeature("cue_identity", "requests that ask about the model itself / N", "high", _RATIO),
    PoolFeature("refusal_share", "refused requests / N", "high", _RATIO),
    PoolFeature("logprob_share", "requests with logprobs / N", "high", _RATIO),
    PoolFeature("burst_share", "requests under 1 s after the account's previous one / N", "high", _RATIO),
    PoolFeature("response_echo", "requests whose prompt holds an earlier response / N", "high", _RATIO),
)
NAMES: Final = tuple(feature.name for feature in CATALOGUE)
SCORED: Final = np.array([feature.scored for feature in CATALOGUE])
EXCHANGEABILITY: Final = np.array([feature.exchangeability for feature in CATALOGUE])
_SHARES: Final = (
    ("own_prefix", SUM_PLACE["continued"]),
    ("young_share", SUM_PLACE["young"]),
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
    groups = _Groups(starts, size, requests, total)

    def put(name: str, values: Float64Array) -> None:
        features[:, NAMES.index(name)] = values

    for name, place in _SHARES:
        put(name, totals[:, place] / total)
    output, given = totals[:, SUM_PLACE["log_output"]], totals[:, SUM_PLACE["log_input"]]
    put("log_out", output / total / FIXED_POINT)
    put("log_out_in", (output - given) / total / FIXED_POINT)
    put("disp", _dispersion(groups))
    put("evenness", _evenness(groups))
    own = sums[:, SUM_PLACE["log_output"]].astype(np.float64)[:, None]
    put("icc_output", _icc(groups, own, sums[:, SUM_PLACE["log_output_squared"]].astype(np.float64)))
    hours = sums[:, [SUM_PLACE["hour_sine"], SUM_PLACE["hour_cosine"]]].astype(np.float64)
    put("icc_hour", _icc(groups, hours, requests * FIXED_POINT**2))
    squares = sums[:, SUM_PLACE["projection_squared"]].astype(np.float64)
    between, within = _mean_squares(groups, members["projection"].astype(np.float64), squares)
    told = (between > _TINY) & (within > _TINY)
    put("content_f", np.log(np.where(told, between, np.nan) / np.where(told, within, np.nan)))
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


@dataclass(frozen=True, slots=True)
class _Groups:
    starts: Int64Array
    size: Float64Array  # k
    requests: Float64Array  # n_a, by member
    total: Float64Array  # N

    def sum(self, values: Float64Array) -> Float64Array:
        return np.add.reduceat(values, self.starts, axis=0)

    def spread(self, values: Float64Array) -> Float64Array:
        """Repeat each pool's value for its members."""
        return np.repeat(values, self.size.astype(np.int64), axis=0)


def _dispersion(groups: _Groups) -> Float64Array:
    mean = groups.total / groups.size
    squares = groups.sum((groups.requests - groups.spread(mean)) ** 2)
    variance = squares / np.where(groups.size > 1, groups.size - 1.0, np.nan)
    return np.log((variance + 0.5) / (mean + 0.5))


def _evenness(groups: _Groups) -> Float64Array:
    pool = groups.spread(np.arange(len(groups.starts), dtype=np.float64))
    ascending = groups.requests[np.lexsort((groups.requests, pool))]
    place = np.arange(len(ascending)) - groups.spread(groups.starts.astype(np.float64)) + 1.0
    weighted = groups.sum(place * ascending)
    gini = 2.0 * weighted / (groups.size * groups.total) - (groups.size + 1.0) / groups.size
    return np.where(groups.size > 1, 1.0 - gini, np.nan)


def _mean_squares(groups: _Groups, sums: Float64Array, squares: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Give the mean squares between and within customers; NaN where there are too few to tell.

    ``sums`` are the members' sums of vectors, shape ``(members, d)``; ``squares`` their sums of squared lengths.
    """
    about = groups.sum((sums**2).sum(axis=1) / groups.requests)
    grand = (groups.sum(sums) ** 2).sum(axis=1) / groups.total
    free = groups.total - groups.size
    enough = (groups.size > 1) & (free >= LEAST_WITHIN)
    between = np.maximum(about - grand, 0.0) / np.where(enough, groups.size - 1.0, np.nan)
    within = np.maximum(groups.sum(squares) - about, 0.0) / np.where(enough, free, np.nan)
    return between, within


def _icc(groups: _Groups, sums: Float64Array, squares: Float64Array) -> Float64Array:
    """ICC(1) for groups of unequal size (Shrout & Fleiss 1979; n0 as in Donner 1986); NaN where nothing varies."""
    between, within = _mean_squares(groups, sums, squares)
    lone = groups.sum(groups.requests**2) / groups.total
    typical = (groups.total - lone) / np.where(groups.size > 1, groups.size - 1.0, np.nan)
    whole = between + (typical - 1.0) * within
    return np.where(whole > _TINY, (between - within) / np.where(whole > _TINY, whole, np.nan), np.nan)


def _new_rate(batch: PoolBatch, groups: _Groups) -> Float64Array:
    limit = batch.time_ms - NEW_DAYS * DAY_MS
    created, seen = batch.members["created_at"], batch.members["first_seen"]
    known = (created > 0) | (batch.observed_since_ms <= limit)
    new = np.where(created > 0, created, seen) > limit
    counted = groups.sum(known.astype(np.float64))
    return groups.sum((new & known).astype(np.float64)) / np.where(counted > 0, counted, np.nan)


def _concentration(batch: PoolBatch, groups: _Groups, attribute: Literal["network", "payment"]) -> Float64Array:
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
