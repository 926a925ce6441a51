"""Accounts with one purpose and the same settings: what each leaves too little of adds up, and the bound holds."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from detection.config import AccountLane, DetectionConfig
from detection.ids import rfc3339
from detection.incidents.kindred import Kindred, KindredState
from detection.incidents.step import IncidentsStep
from detection.outcomes import Evidence, Finding, Member
from schemas.entitlement import Entitlement

CONFIG = DetectionConfig()
HOP = 1_900_000
TIME = rfc3339(HOP * CONFIG.clocking.hop_ms)
PRIOR = -math.log(CONFIG.accounts.kindred_share)
BOUND = -math.log(CONFIG.accounts.purpose_alarms)
SETTINGS, OTHERS = f"{7:016x}", f"{8:016x}"


def fact(
    account: int, nats: float, *, settings: str = SETTINGS, purpose: str = "refusal_share", hop: int = HOP
) -> Finding:
    return Finding(
        finding_id=f"{account}-{purpose}-{hop}-{nats}",
        lane="account",
        detector="pursued_purpose",
        family="",
        subject=settings,
        hop=hop,
        event_time=TIME,
        score=0.0,
        threshold=CONFIG.accounts.threshold,
        customers=1,
        requests=160,
        verified_share=0.0,
        young_share=0.25,
        evidence=[Evidence(feature=purpose, actual=0.5, expected=0.28, weight=nats)],
        members=[Member(account=f"{account:016x}", customer=f"{account:016x}", requests=160, strength=0.0, since=TIME)],
        config_version="test",
    )


def together(*facts: Finding) -> list[Finding]:
    return Kindred(CONFIG).close(HOP, facts)


def test_two_that_are_too_little_alone_are_told_together() -> None:
    half = PRIOR + BOUND / 2
    assert half < BOUND
    (found,) = together(fact(1, half), fact(2, half))
    assert (found.lane, found.detector, found.family, found.subject) == (
        "account",
        "shared_purpose",
        "configuration",
        SETTINGS,
    )
    assert (found.customers, found.requests, found.young_share) == (2, 320, 0.25)
    assert found.score == pytest.approx(found.threshold, abs=1e-3)
    assert [member.strength for member in found.members] == pytest.approx(
        [1 / (1 + math.exp(-BOUND / 2))] * 2, abs=1e-3
    )


def test_beside_one_that_alarms_by_itself_evidence_as_strong_as_the_prior_is_enough() -> None:
    (found,) = together(fact(1, BOUND + 1), fact(2, PRIOR + 0.1), fact(3, PRIOR - 0.1))
    assert {member.account: member.strength > 0.5 for member in found.members} == {
        f"{1:016x}": True,
        f"{2:016x}": True,
    }


@pytest.mark.parametrize(
    "facts",
    [
        (fact(1, BOUND * 2),),  # One account is the account lane's own.
        (fact(1, PRIOR + 1), fact(2, PRIOR + 1)),
        (fact(1, BOUND), fact(2, BOUND, settings=OTHERS)),
        (fact(1, BOUND), fact(2, BOUND, purpose="cue_synthesis")),
    ],
    ids=["alone", "too little", "other settings", "other purpose"],
)
def test_nothing_is_told_of(facts: tuple[Finding, ...]) -> None:
    assert together(*facts) == []


def test_the_newest_milestone_stands_and_what_is_a_week_old_is_forgotten() -> None:
    kindred = Kindred(CONFIG)
    assert kindred.close(HOP, [fact(1, BOUND)]) == []
    week = CONFIG.incidents.quiet_ms // CONFIG.clocking.hop_ms
    (found,) = kindred.close(HOP + week, [fact(2, BOUND, hop=HOP + week)])
    assert found.customers == 2
    assert kindred.close(HOP + week + 1, [fact(2, BOUND, hop=HOP + week + 1)]) == []
    assert list(kindred.state.pursuits[SETTINGS]) == [f"{2:016x}"]


def test_the_order_of_facts_and_a_restart_in_between_change_nothing() -> None:
    first, second = [fact(1, BOUND), fact(2, PRIOR + 2)], [fact(3, PRIOR + 1, hop=HOP + 1)]
    one, other = Kindred(CONFIG), Kindred(CONFIG)
    assert one.close(HOP, first) == other.close(HOP, first[::-1])
    raw = msgspec.msgpack.encode(other.state)
    again = Kindred(CONFIG, msgspec.msgpack.decode(raw, type=KindredState))
    assert one.close(HOP + 1, second) == again.close(HOP + 1, second)


def test_the_least_recent_go_above_the_limit() -> None:
    config = msgspec.structs.replace(CONFIG, accounts=msgspec.structs.replace(AccountLane(), maximum_kindred=2))
    kindred = Kindred(config)
    for account in range(4):
        kindred.close(HOP + account, [fact(account, PRIOR + 0.1, hop=HOP + account)])
    assert sorted(kindred.state.pursuits[SETTINGS]) == [f"{2:016x}", f"{3:016x}"]


def test_honest_accounts_hardly_ever_raise_an_alarm_together() -> None:
    # E-values of honest accounts have a mean of 1 at most; these have exactly that, and are as wild as they can be.
    rng = np.random.default_rng(3)
    alarms, places, most = 0, 4_000, 20
    for _ in range(places):
        nats = np.log(1.0 / rng.uniform(1e-12, 1.0, most))
        # 1/U has no mean: scaled by its logarithm's range it is an e-value.
        nats -= math.log(-math.log(1e-12))
        alarms += bool(together(*(fact(n, value) for n, value in enumerate(nats) if value > PRIOR)))
    # A bound of 1 in 10,000 for each account, and for each place what the prior leaves: e ** (0.05 * 20).
    assert alarms / places <= math.exp(CONFIG.accounts.kindred_share * most) * CONFIG.accounts.purpose_alarms * (
        most + 1
    )


def alerts_of(*facts: Finding, entitled: tuple[int, ...] = ()) -> list[tuple[str, str, str, str]]:
    step = IncidentsStep(CONFIG, 1, 1)
    for account in entitled:
        step.entitle(
            Entitlement(
                entitlement_id=f"e{account}",
                subject_kind="account",
                subject=f"{account:016x}",
                kind="licence",
                valid_from_unix_ms=0,
                valid_until_unix_ms=1 << 52,
            )
        )
    for one in facts:
        step.add(one)
    step.closed("accounts", 0, HOP)
    step.closed("pools", 0, HOP)
    again = IncidentsStep(CONFIG, 1, 1)
    again.load(step.state())
    assert again.state() == step.state()
    return [(alert.kind, alert.lane, alert.subject_kind, alert.title) for alert in step.take()]


def test_they_are_one_alert_about_a_campaign() -> None:
    ((kind, lane, subject_kind, title),) = alerts_of(fact(1, BOUND), fact(2, BOUND))
    assert (kind, lane, subject_kind) == ("alert", "account", "campaign")
    assert title.startswith("2 customers with the same model and parameters pursue one purpose: ")


def test_a_purpose_that_research_shares_is_asked_about() -> None:
    ((kind, *_, title),) = alerts_of(*(fact(n, BOUND, purpose="repeated_turns") for n in (1, 2)))
    assert kind == "verification_request"
    assert title.endswith(": ask what it is for")


def test_facts_alone_raise_nothing_and_who_is_entitled_is_left_out() -> None:
    assert alerts_of(fact(1, BOUND), fact(2, PRIOR - 1)) == []
    assert alerts_of(fact(1, BOUND), fact(2, BOUND), entitled=(1,)) == []
