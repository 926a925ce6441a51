"""The policy: where the ladder begins, how it climbs, what a verdict does, and that entitlements win."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.config import DecisionPolicy
from detection.outcomes import Alert, Member
from detection.policy.decisions import InForce, Proposal, delay_ms, meanwhile, propose
from detection.policy.entitlements import Entitlements
from detection.policy.ladder import RUNGS, ceiling, height, higher, limits_of, lower, next_rung, trim_of
from schemas.entitlement import Entitlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from detection.policy.decisions import Licence
    from detection.policy.ladder import Action

POLICY = DecisionPolicy()
HOUR = 3_600_000
TIME = "2026-01-02T03:04:05.000Z"


def member(number: int, strength: float = 0.9) -> Member:
    return Member(account=f"{number:016x}", customer=f"{100 + number:016x}", requests=3, strength=strength, since=TIME)


def alert(**changes: Any) -> Alert:
    told: dict[str, Any] = {
        "alert_id": "a" * 16,
        "revision": 1,
        "kind": "alert",
        "lane": "pool",
        "subject_kind": "campaign",
        "subject": "5" * 16,
        "event_time": TIME,
        "updated_time": TIME,
        "score": 4.0,
        "severity": "critical",
        "confidence": 0.9,
        "title": "A pool",
        "requests": 9,
        "contributions": [],
        "members": [member(2), member(1), member(3, 0.2)],
        "findings": [],
        "config_version": "test",
    }
    return Alert(**(told | changes))


def asked(
    of: Alert,
    *,
    verdict: str | None = None,
    in_force: InForce | None = None,
    licence: Callable[[Member], Licence] = lambda _: "none",
    now_ms: int = 100 * HOUR,
    policy: DecisionPolicy = POLICY,
) -> Proposal | None:
    return propose(of, verdict=verdict, now_ms=now_ms, licence=licence, in_force=in_force, policy=policy)


def action_of(proposal: Proposal | None) -> Action:
    assert proposal is not None
    return proposal.action


@pytest.mark.parametrize(
    ("severity", "first", "most"),
    [
        ("low", "observe", "throttle"),
        ("medium", "throttle", "trim"),
        ("high", "trim", "challenge"),
        ("critical", "challenge", "block"),
    ],
)
def test_severity_says_where_the_ladder_begins_and_ends(severity: str, first: str, most: str) -> None:
    assert action_of(asked(alert(severity=severity))) == first
    assert action_of(asked(alert(severity=severity), verdict="true_positive")) == most
    question = ceiling(cast("Any", severity), "pool", "verification_request")
    assert question == lower(cast("Any", most), "challenge")


def test_a_probe_loses_what_it_probes_for_however_low_it_is_graded() -> None:
    probe = {"lane": "probe", "subject_kind": "account", "members": [member(7)]}
    assert action_of(asked(alert(severity="low", **probe))) == "trim"
    assert action_of(asked(alert(severity="low", **probe), verdict="true_positive")) == "trim"
    assert action_of(asked(alert(severity="critical", **probe))) == "challenge"
    assert action_of(asked(alert(severity="low", confidence=0.4, **probe))) == "observe"


def test_a_campaign_names_its_strong_members_and_says_why() -> None:
    proposal = asked(alert(severity="medium"))
    assert proposal is not None
    assert proposal.members == [(member(1).account, member(1).customer), (member(2).account, member(2).customer)]
    assert (proposal.subject_kind, proposal.subject, proposal.evidence_id) == ("campaign", "a" * 16, "a" * 16)
    assert proposal.reason_codes == ["lane.pool", "severity.medium"]
    assert proposal.automatic
    assert proposal.lifetime_ms == POLICY.restrict_ms


def test_an_alert_about_one_account_names_it_whatever_the_strength() -> None:
    proposal = asked(alert(subject_kind="account", members=[member(7, 0.1)]))
    assert proposal is not None
    assert (proposal.subject_kind, proposal.subject) == ("account", member(7).account)
    assert not proposal.automatic


def test_little_confidence_is_watched_only() -> None:
    assert action_of(asked(alert(confidence=0.4))) == "observe"
    standing = InForce(action="trim", since_ms=0, by_person=True)
    assert action_of(asked(alert(confidence=0.4), in_force=standing)) == "trim"
    assert action_of(asked(alert(confidence=0.4), in_force=InForce(action="trim", since_ms=0, by_person=False))) == (
        "observe"
    )


def test_growth_climbs_one_rung_after_its_time_and_never_above_the_ceiling() -> None:
    now = 100 * HOUR
    young = InForce(action="throttle", since_ms=now - POLICY.escalate_ms + 1, by_person=False)
    old = InForce(action="throttle", since_ms=now - POLICY.escalate_ms, by_person=False)
    assert action_of(asked(alert(severity="medium"), in_force=young)) == "throttle"
    assert action_of(asked(alert(severity="medium"), in_force=old)) == "trim"
    top = InForce(action="trim", since_ms=0, by_person=False)
    assert action_of(asked(alert(severity="medium"), in_force=top)) == "trim"


def test_what_a_person_loosened_stays_and_what_a_person_ordered_is_not_lowered() -> None:
    for loose in ("allow", "observe"):
        assert asked(alert(), in_force=InForce(action=cast("Any", loose), since_ms=0, by_person=True)) is None
    ordered = InForce(action="block", since_ms=0, by_person=True)
    assert action_of(asked(alert(severity="low"), in_force=ordered)) == "block"
    assert action_of(asked(alert(severity="low"), in_force=InForce(action="block", since_ms=0, by_person=False))) == (
        "throttle"
    )
    assert action_of(
        asked(alert(), verdict="true_positive", in_force=InForce(action="allow", since_ms=0, by_person=True))
    )


@pytest.mark.parametrize("verdict", ["false_positive", "benign"])
def test_a_cleared_alert_allows_its_members_for_long(verdict: str) -> None:
    proposal = asked(alert(), verdict=verdict)
    assert proposal is not None
    assert (proposal.action, proposal.automatic, proposal.lifetime_ms) == ("allow", True, POLICY.allow_ms)
    assert proposal.reason_codes[0] == f"verdict.{verdict}"


def test_nothing_is_decided_on_insufficient_data_or_about_nobody() -> None:
    assert asked(alert(), verdict="insufficient_data") is None
    assert asked(alert(members=[member(1, 0.2)])) is None


@given(st.sampled_from(["entitled", "lapsed"]), st.sampled_from([None, "true_positive", "benign"]))
def test_nobody_with_a_licence_is_ever_named(state: Licence, verdict: str | None) -> None:
    def licence(who: Member) -> Licence:
        return state if who.account == member(1).account else "none"

    proposal = asked(alert(), verdict=verdict, licence=licence)
    assert proposal is not None
    assert proposal.members == [(member(2).account, member(2).customer)]
    assert asked(alert(), verdict=verdict, licence=lambda _: state) is None


@given(st.binary(min_size=1, max_size=64), st.text(max_size=20), st.sampled_from(RUNGS))
def test_the_delay_is_bounded_repeatable_and_never_holds_up_what_loosens(key: bytes, name: str, action: Action) -> None:
    delay = delay_ms(key, name, action, POLICY)
    assert delay == delay_ms(key, name, action, POLICY)
    assert 0 <= delay <= (POLICY.jitter_ms if height(action) > height("observe") else 0)


def test_the_highest_automatic_rung_holds_while_a_proposal_waits_for_a_lead() -> None:
    waiting = asked(alert())
    assert waiting is not None
    first = meanwhile(waiting, None, POLICY)
    assert first is not None
    assert (first.action, first.automatic, first.members) == ("throttle", True, waiting.members)
    assert meanwhile(waiting, InForce(action="throttle", since_ms=0, by_person=False), POLICY) is None
    assert meanwhile(waiting, InForce(action="observe", since_ms=0, by_person=False), POLICY) == first
    assert meanwhile(first, None, POLICY) is None


def test_delays_differ_between_keys_and_decisions_and_can_be_turned_off() -> None:
    drawn = {delay_ms(key, name, "block", POLICY) for key in (b"k", b"l") for name in ("a", "b", "c")}
    assert len(drawn) == 6
    assert delay_ms(b"k", "a", "block", DecisionPolicy(jitter_ms=0)) == 0


def test_each_rung_holds_what_the_rungs_below_it_ask() -> None:
    for action in RUNGS:
        assert (limits_of(action, 1, POLICY) is not None) == (height(action) >= height("throttle"))
        assert (trim_of(action, POLICY) is not None) == (height(action) >= height("trim"))
    assert [
        limits.shared_requests_per_hour
        for count in (0, 1, 40, 41, 400)
        if (limits := limits_of("block", count, POLICY))
    ] == [10, 10, 10, 11, 100]
    assert [next_rung(action) for action in RUNGS] == [*RUNGS[1:], "block"]
    assert higher("trim", "throttle") == higher("throttle", "trim") == "trim"


def test_an_entitlement_holds_through_its_grace() -> None:
    known = Entitlements()
    known.entitle(
        Entitlement(
            entitlement_id="e",
            subject_kind="account",
            subject="5" * 16,
            kind="licence",
            valid_from_unix_ms=10,
            valid_until_unix_ms=20,
            grace_ms=5,
        )
    )
    assert [known.covers(["5" * 16], moment) for moment in (9, 10, 20, 24, 25)] == [False, True, True, True, False]
