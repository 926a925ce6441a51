"""Every pool feature against a slow oracle in plain Python: sets, lists and floats, one request at a time."""

from __future__ import annotations

import math
from statistics import mean, variance
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.families import Family
from detection.features.pools import CATALOGUE, LEAST_WITHIN, NAMES, PoolBatch, pool_features
from detection.pools.hop import merge_rows

if TYPE_CHECKING:
    from detection.columns import Float64Array, StructuredArray, UInt64Array

TIME_MS = 1_900_300 * 900_000


def describe(
    rows: StructuredArray,
    families: dict[int, Family],
    observed_since_ms: int = 0,
    customers: dict[int, float] | None = None,
) -> tuple[UInt64Array, Float64Array]:
    members = merge_rows(rows)
    pools, starts, sizes = np.unique(members["pool"], return_index=True, return_counts=True)
    true = sizes.astype(float) if customers is None else np.array([customers[int(p)] for p in pools], float)
    return pools, pool_features(
        PoolBatch(members, starts, true, np.array([families[int(p)] for p in pools]), TIME_MS, observed_since_ms)
    )


def anova(groups: list[list[Any]]) -> tuple[float, float]:
    """Mean squares between and within, of lists of vectors."""
    flat = [v for group in groups for v in group]
    k, n = len(groups), len(flat)
    grand = np.mean(flat, axis=0)
    between = sum(len(g) * float(((np.mean(g, axis=0) - grand) ** 2).sum()) for g in groups)
    within = sum(float(((v - np.mean(g, axis=0)) ** 2).sum()) for g in groups for v in g)
    return between / (k - 1), within / (n - k)


def greatest_icc(groups: list[list[Any]], dimensions: int) -> float:
    n, k = sum(map(len, groups)), len(groups)
    between, within = anova(groups)
    widest = between / quantile((k - 1) * dimensions)
    n0 = (n - sum(len(g) ** 2 for g in groups) / n) / (k - 1)
    return (widest - within) / (widest + (n0 - 1) * within)


def quantile(freedom: float) -> float:
    """Wilson-Hilferty: the 10 % quantile of chi-squared over its degrees of freedom."""
    return (1 - 2 / (9 * freedom) - 1.2816 * math.sqrt(2 / (9 * freedom))) ** 3


def error(values: list[float], counts: list[int]) -> float:
    """Standard error of sum(values) / sum(counts), customers as clusters."""
    ratio, k = sum(values) / sum(counts), len(counts)
    squares = sum((v - ratio * c) ** 2 for v, c in zip(values, counts, strict=True))
    return math.sqrt(k / (k - 1) * squares) / sum(counts)


def least_share(values: list[int], counts: list[int]) -> float:
    k = len(counts)
    bound = sum(values) / sum(counts) * k / (k + 1) - 1.2816 * error(values, counts)
    return bound if bound >= 0.05 else 0.0


def oracle(requests: list[Any], traffic: Any) -> dict[str, float]:
    by_customer = {}
    for r in requests:
        by_customer.setdefault(r.customer, []).append(r)
    groups = list(by_customer.values())
    counts = [len(g) for g in groups]
    n, k = len(requests), len(groups)
    outs = [[np.array([traffic.fixed(r.output_tokens) / 1024]) for r in g] for g in groups]
    hours = [[np.array(traffic.hour(r.time)) / 1024 for r in g] for g in groups]
    between, within = anova([[r.projection.astype(float) for r in g] for g in groups])
    distinct = [len({r.residual for r in g}) for g in groups]
    ages = [max(r.created_at for r in g) for g in groups]
    mates = [sum(max(r.network for r in h) == max(r.network for r in g) for h in groups) - 1 for g in groups]
    given = [sum(traffic.fixed(r.input_tokens) / 1024 for r in g) for g in groups]
    taken = [sum(float(v[0]) for v in g) for g in outs]
    surplus = [out - into for out, into in zip(taken, given, strict=True)]
    continued = [sum(r.continued for r in g) for g in groups]
    widest = variance(counts) / quantile(k - 1)
    return {
        "volume_spread": math.sqrt(max(widest - mean(counts), 0)) / mean(counts),
        "content_f": math.log(between / quantile(8 * (k - 1)) / within),
        "icc_output": greatest_icc(outs, 1),
        "icc_hour": greatest_icc(hours, 2),
        "self_repeat": 1 - sum(distinct) / n,
        "cross_overlap": 1 - len({r.residual for r in requests}) / sum(distinct),
        "log_out_in": sum(surplus) / n - 1.2816 * error(surplus, counts),
        "log_out": sum(taken) / n - 1.2816 * error(taken, counts),
        "response_distinct": sum(len({r.response for r in g}) for g in groups) / n,
        "own_prefix": min((sum(continued) / n * k + 1) / (k + 1) + 1.2816 * error(continued, counts), 1),
        "young_share": sum(r.time - r.created_at < 14 * traffic.DAY_MS for r in requests) / n,
        "new_rate": mean(float(a > TIME_MS - 2 * traffic.DAY_MS) for a in ages),
        "network_concentration": math.log1p(mean(mates)),
        "cue_grading": least_share([sum(r.cues[2] for r in g) for g in groups], counts),
        "refusal_share": least_share([sum(r.flags.get("refusals", 0) for r in g) for g in groups], counts),
    }


SKETCHED = {"self_repeat": 0.05, "cross_overlap": 0.28, "response_distinct": 0.1}


@pytest.mark.parametrize("seed", range(4))
def test_features_agree_with_the_oracle(traffic: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pools = {}
    for pool in (3, 5, 9):
        requests = traffic.organic(rng, pool, int(rng.integers(4, 40)))
        crowd = [int(rng.integers(1, 2**60)) for _ in range(6)]
        office = {}
        for r in requests:
            r.network = office.setdefault(r.customer, crowd[int(rng.integers(6))])
            r.cues = (0, 0, int(rng.random() < 0.2), 0, 0)
            r.flags = {"refusals": int(rng.random() < 0.1)}
        pools[pool] = requests
    rows = traffic.contributions([r for requests in pools.values() for r in requests])
    keys, features = describe(rows, dict.fromkeys(pools, Family.SYSTEM))
    for key, values in zip(keys.tolist(), features, strict=True):
        seen = dict(zip(NAMES, values.tolist(), strict=True))
        for name, expected in oracle(pools[key], traffic).items():
            tolerance = SKETCHED.get(name, 0.004)
            assert seen[name] == pytest.approx(expected, abs=tolerance, rel=0.004), name


def test_a_pool_of_workers_differs_from_a_pool_of_people(traffic: Any) -> None:
    rng = np.random.default_rng(5)
    people, workers = traffic.organic(rng, 1, 60), traffic.campaign(rng, 2, 60)
    _, (organic, harvest) = describe(traffic.contributions(people + workers), dict.fromkeys((1, 2), Family.SYSTEM))
    for feature in CATALOGUE:
        if feature.exchangeability:
            place = NAMES.index(feature.name)
            further = harvest[place] - organic[place]
            assert (further > 0) == (feature.direction == "high"), feature.name


def test_features_that_the_evidence_cannot_tell_are_absent(traffic: Any) -> None:
    rng = np.random.default_rng(6)
    requests = traffic.organic(rng, 1, 5, volume=2.0)
    for r in requests:
        r.residual = r.response = r.network = r.created_at = 0
        r.projection = np.zeros(32, np.int8)
    one_each = list({r.customer: r for r in requests}.values())
    _, (values,) = describe(traffic.contributions(one_each), {1: Family.SYSTEM}, observed_since_ms=TIME_MS)
    seen = dict(zip(NAMES, values.tolist(), strict=True))
    absent = {
        "content_f",
        "icc_output",
        "icc_hour",
        "self_repeat",
        "cross_overlap",
        "response_distinct",
        "new_rate",
        "network_concentration",
        "payment_concentration",
    }
    assert {name for name, value in seen.items() if math.isnan(value)} == absent


def test_first_sight_tells_an_age_only_once_observation_is_old_enough(traffic: Any) -> None:
    requests = traffic.organic(np.random.default_rng(7), 1, 6)
    for r in requests:
        r.created_at = 0
    rows = traffic.contributions(requests)
    place = NAMES.index("new_rate")
    assert math.isnan(describe(rows, {1: Family.SYSTEM}, observed_since_ms=TIME_MS - traffic.DAY_MS)[1][0, place])
    seen = describe(rows, {1: Family.SYSTEM}, observed_since_ms=TIME_MS - 9 * traffic.DAY_MS)[1][0, place]
    first = [min(r.time for r in requests if r.customer == c) for c in {r.customer for r in requests}]
    assert seen == pytest.approx(mean(float(time > TIME_MS - 2 * traffic.DAY_MS) for time in first))


@pytest.mark.parametrize(
    ("family", "network", "payment"),
    [(Family.NETWORK, False, True), (Family.PAYMENT, True, False), (Family.SYSTEM, True, True)],
)
def test_what_a_pool_is_keyed_by_is_no_evidence_in_it(
    traffic: Any, family: Family, network: bool, payment: bool
) -> None:
    requests = traffic.campaign(np.random.default_rng(8), 1, 8)
    for r in requests:
        r.network = r.payment = 77
    _, (values,) = describe(traffic.contributions(requests), {1: family})
    assert math.isnan(values[NAMES.index("network_concentration")]) != network
    assert math.isnan(values[NAMES.index("payment_concentration")]) != payment


def test_concentration_is_rescaled_to_the_pool_s_true_size(traffic: Any) -> None:
    requests = traffic.campaign(np.random.default_rng(9), 1, 11)
    for r in requests:
        r.network = 5
    _, (values,) = describe(traffic.contributions(requests), {1: Family.SYSTEM}, customers={1: 101})
    # 10 co-members in a sample of 11 stand for 100 in a pool of 101.
    assert values[NAMES.index("network_concentration")] == pytest.approx(math.log1p(100))


def volumes(counts: list[int]) -> dict[str, float]:
    """Features of one pool whose customers sent so many requests each, every third of them a continuation."""
    from detection.pools.layout import MEMBER, SUM_PLACE

    members = np.zeros(len(counts), MEMBER)
    members["pool"], members["customer"] = 1, np.arange(1, len(counts) + 1)
    members["sums"][:, SUM_PLACE["requests"]] = counts
    members["sums"][:, SUM_PLACE["refusals"]] = [count // 3 for count in counts]
    batch = PoolBatch(members, np.array([0]), np.array([float(len(counts))]), np.array([1]), TIME_MS, 0)
    return dict(zip(NAMES, pool_features(batch)[0].tolist(), strict=True))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=30))
def test_what_little_evidence_allows_is_always_more_than_what_much_does(counts: list[int]) -> None:
    few, many = volumes(counts), volumes(counts * 3)
    assert few["volume_spread"] >= many["volume_spread"] - 1e-9
    assert few["refusal_share"] <= many["refusal_share"] + 1e-9
    assert few["own_prefix"] >= many["own_prefix"] - 1e-9
    assert math.isnan(few["icc_hour"]) or sum(counts) - len(counts) >= LEAST_WITHIN


def test_what_one_customer_does_alone_is_no_share_of_a_crowd() -> None:
    from detection.features.bounds import Groups, least_share

    requests = np.full(10, 20.0)
    groups = Groups(np.array([0]), np.array([10.0]), requests, np.array([200.0]))
    alone = np.array([20.0] + [0.0] * 9)
    assert least_share(groups, alone)[0] == 0.0
    assert least_share(groups, np.full(10, 2.0))[0] == pytest.approx(0.1 * 10 / 11)


def test_counts_dealt_evenly_have_no_spread_and_a_crowd_has_one() -> None:
    assert volumes([30] * 40)["volume_spread"] == 0.0
    assert volumes([3, 5, 8, 13, 40, 90, 150, 4, 6, 20])["volume_spread"] > 1.0
