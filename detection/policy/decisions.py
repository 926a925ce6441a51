"""From an alert, and a person's verdict where there is one, to what gateways should do: proposals, pure.

A proposal is not a decision: above the policy's automatic rung a lead approves it first. Entitlements win always, in
their time of grace too; who was licensed until lately is watched, not restricted. A proposal about a campaign names
its members one by one, each by evidence of its own.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from detection.policy.ladder import Action, beginning, ceiling, height, higher, lower, next_rung

if TYPE_CHECKING:
    from collections.abc import Callable

    from detection.config import DecisionPolicy
    from detection.outcomes import Alert, Member

SubjectKind: TypeAlias = Literal["account", "campaign", "organization", "tenant"]
Licence: TypeAlias = Literal["entitled", "lapsed", "none"]
TENANT: Final = "tenant"  # The one subject of its kind: the kill switch.
_WATCHED: Final = height("observe")
# A verdict that was taken back restricts nobody any more.
_CLEARING: Final = frozenset({"false_positive", "benign", "withdrawn"})


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What should be done with one subject. Equal alerts, verdicts and standings give equal proposals."""

    subject_kind: SubjectKind
    subject: str
    members: list[tuple[str, str]]  # Account and customer, sorted; of an account's alert the account itself.
    action: Action
    reason_codes: list[str]
    evidence_id: str
    lifetime_ms: int
    automatic: bool  # No person needs to approve it.


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a subject now: the rung, since when it has stood there (ms), and whether a person put it there."""

    action: Action
    since_ms: int
    by_person: bool


def propose(
    alert: Alert,
    *,
    verdict: str | None,
    now_ms: int,
    licence: Callable[[Member], Licence],
    in_force: InForce | None,
    policy: DecisionPolicy,
) -> Proposal | None:
    """Propose for an alert's subject; None where there is nobody to decide about, or a verdict that decides nothing.

    Without a verdict the ladder begins by severity and confidence, and climbs by one rung when the alert has grown and
    the rung below has stood for the policy's time. A true positive goes to the alert's ceiling at once, to be approved.
    A false positive or a benign verdict allows the members, which takes every restriction of theirs back. What a person
    has loosened stays loose while that holds, and what a person has ordered is never lowered here.
    """
    members = sorted(
        (member.account, member.customer)
        for member in alert.members
        if _named(alert, member, policy) and licence(member) == "none"
    )
    if alert.kind == "exploration" and verdict != "true_positive":
        return None  # Nothing points at anybody: only a person's word can.
    if not members or (verdict is not None and verdict != "true_positive" and verdict not in _CLEARING):
        return None
    if verdict is None and in_force is not None and in_force.by_person and height(in_force.action) <= _WATCHED:
        return None
    codes = [f"lane.{alert.lane}", f"severity.{alert.severity}"]
    if verdict is not None:
        codes.insert(0, f"verdict.{verdict}")
    if verdict in _CLEARING:
        action: Action = "allow"
    elif verdict is not None:
        action = ceiling(alert.severity, alert.lane, alert.kind)
    else:
        action = _climb(alert, now_ms, in_force, policy)
    return Proposal(
        subject_kind=alert.subject_kind,
        subject=alert.alert_id if alert.subject_kind == "campaign" else members[0][0],
        members=members,
        action=action,
        reason_codes=codes,
        evidence_id=alert.alert_id,
        lifetime_ms=policy.allow_ms if action == "allow" else policy.restrict_ms,
        automatic=height(action) <= height(policy.automatic),
    )


def meanwhile(proposal: Proposal, in_force: InForce | None, policy: DecisionPolicy) -> Proposal | None:
    """Give what holds while a proposal waits for a lead: the highest automatic rung, where nothing holds more."""
    if proposal.automatic or (in_force is not None and height(in_force.action) >= height(policy.automatic)):
        return None
    return msgspec.structs.replace(proposal, action=policy.automatic, automatic=True)


def delay_ms(key: bytes, decision_id: str, action: Action, policy: DecisionPolicy) -> int:
    """Give how long a restriction waits before it takes effect: 0 to the policy's jitter, the same at every replay.

    Without the key nobody can foretell it, so that the moment of a restriction does not tell which request crossed a
    threshold. What loosens never waits.
    """
    if height(action) <= _WATCHED or not policy.jitter_ms:
        return 0
    drawn = hashlib.blake2b(decision_id.encode(), digest_size=8, key=key[:64], person=b"sw-jitter").digest()
    return int.from_bytes(drawn, "big") % (policy.jitter_ms + 1)


def _named(alert: Alert, member: Member, policy: DecisionPolicy) -> bool:
    """Tell whether the evidence about one member is enough to act on; an alert about one account names it."""
    return alert.subject_kind == "account" or member.strength >= policy.minimum_strength


def _climb(alert: Alert, now_ms: int, in_force: InForce | None, policy: DecisionPolicy) -> Action:
    highest = ceiling(alert.severity, alert.lane, alert.kind)
    start = lower(beginning(alert.severity, alert.lane, alert.confidence, policy.minimum_confidence), highest)
    if in_force is None:
        return start
    if alert.confidence < policy.minimum_confidence:
        return in_force.action if in_force.by_person else start
    stood = now_ms - in_force.since_ms >= policy.escalate_ms
    climbed = lower(next_rung(in_force.action) if stood else in_force.action, highest)
    return higher(higher(climbed, start), in_force.action if in_force.by_person else start)
