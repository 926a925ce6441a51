"""Keys that follow one another: what is a chain, what is none, and how often a busy place looks like one."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from detection.columns import CONTRIBUTION
from detection.config import DetectionConfig, LinkLane
from detection.families import Family
from detection.ids import mix, to_hex
from detection.pools.contributions import Contributions
from detection.pools.handovers import Handovers
from detection.pools.step import PoolsStep

if TYPE_CHECKING:
    from detection.columns import StructuredArray
    from detection.outcomes import Finding

CONFIG = DetectionConfig()
PLACE = 77
HOP = 1_000
HOUR = 3_600_000 // CONFIG.clocking.hop_ms
DAY = 24 * HOUR


def account(number: int) -> int:
    """Accounts are keyed hashes: all of their bits differ."""
    return int(mix(np.array([number], np.uint64))[0])


def seen(
    number: int,
    hop: int,
    *,
    accepted: int = 1,
    rejected: int = 0,
    before: int = 0,
    customer: int = 0,
    place: int = PLACE,
    verified: int = 0,
) -> StructuredArray:
    row = np.zeros(1, CONTRIBUTION)
    row["family"], row["pool"], row["hop"] = Family.NETWORK_CONFIGURATION, place, hop
    row["account"], row["customer"] = account(number), account(customer or number)
    row["requests"], row["rejected"], row["errors"] = accepted + rejected, rejected, rejected
    row["account_requests_before"], row["verified"] = before, verified
    return row


def play(handovers: Handovers, *rows: StructuredArray) -> list[Finding]:
    """Close every hop that has rows, in order."""
    whole = np.concatenate(rows)
    return [
        finding
        for hop in np.unique(whole["hop"]).tolist()
        for finding in handovers.close(hop, whole[whole["hop"] == hop])
    ]


def chain(*numbers: int, life: int = 10 * HOUR, **columns: Any) -> list[StructuredArray]:
    """Each key works, is refused after its life, and the next one comes a quarter of an hour later."""
    rows = []
    for place, number in enumerate(numbers):
        begins = HOP + place * (life + 1)
        rows.append(seen(number, begins, **columns))
        rows += [seen(number, at, before=5, **columns) for at in range(begins + 4, begins + life, 4)]
        rows.append(seen(number, begins + life, accepted=0, rejected=3, before=40, **columns))
    return rows


def named(finding: Finding) -> set[str]:
    return {member.account for member in finding.members}


def test_a_chain_of_four_is_found_with_all_of_its_keys_and_grows_with_each_that_follows() -> None:
    found = play(Handovers(CONFIG), *chain(1, 2, 3, 4, 5, 6))
    assert [named(one) for one in found] == [{to_hex(account(n)) for n in range(1, last + 1)} for last in (4, 5, 6)]
    first, last = found[0], found[-1]
    assert (first.lane, first.detector, first.family, first.subject) == (
        "link",
        "key_handover",
        "handover",
        to_hex(PLACE),
    )
    assert (first.score, first.threshold, first.customers) == (3.0, 3.0, 4)
    assert {member.strength for member in first.members} == {0.55}
    assert last.members[0].strength > first.members[0].strength
    assert len({one.finding_id for one in found}) == 3


def test_stolen_keys_of_accounts_that_work_elsewhere_are_a_chain_as_well() -> None:
    rows = chain(1, 2, 3, 4)
    for row in rows:
        row["account_requests_before"] += 900
    assert len(play(Handovers(CONFIG), *rows)) == 1


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(chain(1, 2, 3), id="three keys are too few"),
        pytest.param(chain(1, 2, 3, 4, 5, customer=9), id="one organisation rotates its keys"),
        pytest.param(
            [row for n, row in enumerate(chain(1, 2, 3, 4)) if not row["rejected"].any()], id="nobody is refused"
        ),
        pytest.param([seen(n, HOP + 30 * n, accepted=0, rejected=3) for n in range(1, 9)], id="keys that never worked"),
        pytest.param(
            [row for n in range(1, 7) for row in chain(n)[:-1]]
            + [seen(n, HOP + 24, rejected=1, before=9) for n in range(1, 7)]
            + [seen(n, HOP + 25, before=9) for n in range(1, 7)],
            id="who is refused one thing and goes on with others",
        ),
        pytest.param(
            [seen(n, HOP + 12 * HOUR * n) for n in range(1, 6)]
            + [seen(n, HOP + 12 * HOUR * n + 4, accepted=0, rejected=2, before=1) for n in range(1, 6)],
            id="the next comes hours later",
        ),
    ],
)
def test_what_is_no_chain(rows: list[StructuredArray]) -> None:
    assert play(Handovers(CONFIG), *rows) == []


def test_a_key_that_works_again_cuts_the_chain() -> None:
    rows = chain(1, 2, 3, 4)
    back = seen(2, HOP + 3 * (10 * HOUR + 1) - 2, before=60)
    assert play(Handovers(CONFIG), *rows, back) == []


def test_where_newcomers_come_at_any_time_a_chain_says_nothing() -> None:
    visitors = [seen(100 + n, HOP + 20 + n) for n in range(90)]
    assert play(Handovers(CONFIG), *chain(1, 2, 3, 4, 5), *visitors) == []


def test_a_crowd_is_not_watched() -> None:
    crowd = [seen(1_000 + n, HOP + 60) for n in range(300)]
    assert play(Handovers(CONFIG), *chain(1, 2, 3, 4, 5), *crowd) == []


def test_busy_places_where_keys_expire_look_like_a_chain_once_in_three_hundred_days_at_most() -> None:
    """Newcomers are Poisson, one an hour to one a day, and all of their keys end by refusal: every finding is false."""
    dice = np.random.default_rng(5)
    found = days = 0
    for _ in range(400):
        arrivals = int(dice.poisson(3 * np.exp(dice.uniform(np.log(1), np.log(24)))))
        rows = []
        for number in range(1, arrivals + 1):
            begins = HOP + int(dice.integers(3 * DAY))
            life = int(dice.exponential(8 * HOUR)) + 1
            rows += [seen(number, begins), seen(number, begins + life, accepted=0, rejected=2, before=3)]
        found += bool(rows and play(Handovers(CONFIG), *rows))
        days += 3
    assert found <= days / 300, f"{found} places of 400 in {days} days"


def test_neither_the_order_of_rows_nor_a_restart_after_any_hop_changes_anything() -> None:
    dice = np.random.default_rng(3)
    whole = np.concatenate([*chain(1, 2, 3, 4, 5), *[seen(100 + n, HOP + 9 * n, rejected=n % 2) for n in range(9)]])
    expected = play(Handovers(CONFIG), whole)
    assert expected
    handovers, durable, found = Handovers(CONFIG), {}, []
    for hop in np.unique(whole["hop"]).tolist():
        found += handovers.close(hop, dice.permutation(whole[whole["hop"] == hop]))
        durable |= dict(zip(*handovers.dirty(), strict=True))
        handovers = Handovers(CONFIG)
        handovers.load([(key, value) for key, value in durable.items() if value is not None])
    assert found == expected


def test_a_place_is_forgotten_after_the_window_and_the_least_recent_beyond_the_limit() -> None:
    handovers = Handovers(DetectionConfig(links=LinkLane(maximum_watched=2)))
    for place in (1, 2, 3):
        play(handovers, seen(place, HOP + place, rejected=1, before=4, place=place))
    handovers.close(HOP + 4, seen(9, HOP + 4))
    assert len(handovers) == 2
    keys, values = handovers.dirty()
    assert [value for key, value in zip(keys, values, strict=True) if key[-1] == 1] == [None]
    handovers.close(HOP + 4 + 3 * DAY, seen(9, HOP))
    assert len(handovers) == 0


def test_the_switch_turns_it_off() -> None:
    assert play(Handovers(DetectionConfig(links=LinkLane(enabled=False))), *chain(1, 2, 3, 4, 5)) == []


def test_the_pools_step_tells_it_and_carries_it_over_a_restart() -> None:
    whole = np.concatenate(chain(1, 2, 3, 4))
    hops = np.unique(whole["hop"]).tolist()
    step, durable, findings, meta = PoolsStep(CONFIG, None, 0, 1), {}, [], b""
    for offset, (hop, following) in enumerate(pairwise([*hops, hops[-1] + 1])):
        step.add(0, Contributions(whole[whole["hop"] == hop]), following - 1, offset)
        findings += step.take().findings
        durable |= dict(zip(*step.dirty(), strict=True))
        meta = step.meta()
        if offset == len(hops) // 2:
            step = PoolsStep(CONFIG, None, 0, 1)
            step.load_meta(meta)
            kept = {key: value for key, value in durable.items() if value is not None}
            step.load(list(kept), list(kept.values()))
    assert [finding.detector for finding in findings] == ["key_handover"]
    assert step.sizes["watched"] == 1
