"""Campaigns are found and honest pools are left alone; members are chosen one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from detection.config import DetectionConfig
from detection.detectors.reference import References
from detection.families import Family
from detection.ids import to_hex
from detection.pools.hop import merge_rows
from detection.pools.members import choose, own_share
from detection.pools.scoring import band_of, strata
from detection.pools.step import PoolsStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from detection.outcomes import Finding

CONFIG = DetectionConfig()


@pytest.mark.parametrize("customers", [4, 8, 20, 60, 300])
def test_a_sharded_harvest_is_found_and_its_customers_named(
    traffic: Any, feed: Callable[..., Any], honest_references: References, customers: int
) -> None:
    requests = traffic.campaign(np.random.default_rng(100 + customers), 999, customers)
    findings, _ = feed(PoolsStep(CONFIG, honest_references, 0, 1), traffic.contributions(requests))
    assert findings
    last: Finding = findings[-1]
    assert last.subject == to_hex(999)
    assert last.score == max(round(last.score, 4), CONFIG.pools.threshold)
    named = [member for member in last.members if member.strength > 0.5]
    assert len(named) >= 0.75 * customers
    assert last.evidence == sorted(last.evidence, key=lambda item: (-item.weight, item.feature))


def test_honest_pools_are_left_alone(traffic: Any, feed: Callable[..., Any], honest_references: References) -> None:
    rng = np.random.default_rng(77)
    requests = []
    for pool in range(1, 31):
        requests += traffic.organic(rng, pool, int(np.exp(rng.uniform(np.log(4), np.log(90)))))
    findings, vectors = feed(PoolsStep(CONFIG, honest_references, 0, 1), traffic.contributions(requests))
    assert len({finding.subject for finding in findings}) <= 1
    assert vectors == []


@pytest.mark.parametrize(("family", "heard"), [(Family.CONFIGURATION, False), (Family.PREFIX_8, True)])
def test_a_crowd_of_many_kinds_is_not_accused_by_what_strangers_share(
    traffic: Any, feed: Callable[..., Any], honest_references: References, family: Family, heard: bool
) -> None:
    # Odd as a whole, but prompts of twelve lengths: never more than a few customers are alike.
    requests = traffic.campaign(np.random.default_rng(8), 999, 30, family=family)
    kinds = {customer: place for place, customer in enumerate(sorted({r.customer for r in requests}))}
    varied = [traffic.Request(**{**vars(r), "input_tokens": 2 + 3 ** (kinds[r.customer] % 12)}) for r in requests]
    findings, _ = feed(PoolsStep(CONFIG, honest_references, 0, 1), traffic.contributions(varied))
    assert bool(findings) == heard


def test_passers_by_and_customers_with_other_traffic_are_not_named(traffic: Any) -> None:
    rng = np.random.default_rng(3)
    workers = traffic.campaign(rng, 1, 20)
    guilty = {r.customer for r in workers}
    passers_by = traffic.organic(rng, 1, 6, volume=1.0)
    visitor = traffic.campaign(rng, 1, 1)
    # The visitor sends six times as much elsewhere, in between.
    extra = [
        traffic.Request(**{**vars(r), "pool": 2, "time": r.time + shift, "residual": r.residual // 2 + shift})
        for r in visitor
        for shift in range(1, 7)
    ]
    members = merge_rows(traffic.contributions(workers + passers_by + visitor + extra))
    members = members[members["pool"] == 1]
    core = choose(members, CONFIG.pools, 0.9)
    named = set(members["customer"][core.named].tolist())
    assert core.whole
    assert visitor[0].customer not in named
    assert len(named & guilty) >= 18
    assert named - guilty <= {r.customer for r in passers_by}
    assert own_share(members)[members["customer"] == visitor[0].customer][0] < CONFIG.pools.member_share
    strong = set(members["customer"][core.strength > 0.5].tolist())
    assert len(strong & guilty) >= 16
    assert len(strong - guilty) <= 1
    assert ((core.strength >= 0) & (core.strength <= 1)).all()


def test_a_pool_without_a_core_speaks_for_nobody(traffic: Any) -> None:
    rng = np.random.default_rng(4)
    few = traffic.campaign(rng, 1, 5) + traffic.organic(rng, 1, 30, volume=0.3)
    assert not choose(merge_rows(traffic.contributions(few)), CONFIG.pools, 0.9).whole


def test_a_pool_without_steady_customers_names_nobody(traffic: Any) -> None:
    drops = traffic.organic(np.random.default_rng(5), 1, 30, volume=0.01)
    core = choose(merge_rows(traffic.contributions(drops)), CONFIG.pools, 0.9)
    assert not core.whole
    assert not core.named.any()


@pytest.mark.parametrize(
    ("customers", "band"),
    [(4, "4-7"), (7, "4-7"), (8, "8-19"), (20, "20-59"), (59, "20-59"), (60, "60+"), (9e5, "60+")],
)
def test_bands(customers: float, band: str) -> None:
    assert band_of(customers) == band


def test_a_wider_stratum_speaks_where_the_narrow_one_is_missing_or_small(
    traffic: Any, feed: Callable[..., Any], honest_references: References
) -> None:
    requests = traffic.campaign(np.random.default_rng(6), 999, 30, family=Family.PAYMENT)
    rows = traffic.contributions(requests)
    # No honest pool of the reference is keyed by payment: the band over all groups speaks.
    assert not any(name.startswith("payment") for name in honest_references.pools)
    findings, _ = feed(PoolsStep(CONFIG, honest_references, 0, 1), rows)
    assert findings
    small = {name: msgspec.structs.replace(reference, count=59) for name, reference in honest_references.pools.items()}
    step = PoolsStep(CONFIG, References(version="small", pools=small), 0, 1)
    assert feed(step, rows)[0] == []
    assert strata("payment", "60+") == ("payment/60+", "payment/all", "all/60+", "all/all")


def test_a_reference_of_other_features_is_refused(honest_references: References) -> None:
    name, reference = next(iter(honest_references.pools.items()))
    renamed = msgspec.structs.replace(reference, names=("other", *reference.names[1:]))
    with pytest.raises(ValueError, match="other features"):
        PoolsStep(CONFIG, References(version="old", pools={name: renamed}), 0, 1)
