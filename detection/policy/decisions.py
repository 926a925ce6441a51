"""From a verdict to what gateways should do with each member: pure, and a dry run unless the configuration says not.

Nothing is decided on a detector's word alone: a person has labelled the alert. An entitlement always wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from detection.ids import digest_hex, rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from detection.config import DecisionPolicy
    from detection.outcomes import Alert, Member, Severity

Action: TypeAlias = Literal["allow", "observe", "throttle", "trim", "challenge", "block"]

ACTIONS: Final[dict[Severity, Action]] = {
    "low": "observe",
    "medium": "throttle",
    "high": "challenge",
    "critical": "block",
}
# A verdict that was taken back restricts nobody any more.
_CLEARING: Final = frozenset({"false_positive", "benign", "withdrawn"})


class Enforcement(msgspec.Struct, frozen=True, kw_only=True):
    """One account's decision. Equal labels and alerts give equal decisions, ids included."""

    decision_id: str
    account: str
    action: Action
    reason_codes: list[str]
    alert_id: str
    decided_at: str  # RFC 3339: when the label was given.
    expires_at: str
    dry_run: bool


def decide(
    alert: Alert,
    verdict: str,
    label_id: str,
    decided_ms: int,
    entitled: Callable[[Member], bool],
    policy: DecisionPolicy,
) -> list[Enforcement]:
    """Decide for every member of at least the policy's strength, by account.

    A true positive restricts by severity, a question for verification never above a challenge; a false positive, a
    benign verdict or one taken back allows, which ends an earlier restriction; other verdicts decide nothing.
    """
    if verdict != "true_positive" and verdict not in _CLEARING:
        return []
    decisions = []
    action: Action
    for member in sorted(alert.members, key=lambda member: member.account):
        if member.strength < policy.minimum_strength:
            continue
        if entitled(member):
            action, codes = "allow", ["entitlement"]
        elif verdict in _CLEARING:
            action, codes = "allow", [f"verdict.{verdict}"]
        else:
            action, codes = (
                _restriction(alert),
                [f"verdict.{verdict}", f"lane.{alert.lane}", f"severity.{alert.severity}"],
            )
        lifetime = policy.allow_ms if action == "allow" else policy.restrict_ms
        decisions.append(
            Enforcement(
                decision_id=digest_hex("decision", label_id, member.account),
                account=member.account,
                action=action,
                reason_codes=codes,
                alert_id=alert.alert_id,
                decided_at=rfc3339(decided_ms),
                expires_at=rfc3339(decided_ms + lifetime),
                dry_run=policy.dry_run,
            )
        )
    return decisions


def _restriction(alert: Alert) -> Action:
    action = ACTIONS[alert.severity]
    return "challenge" if alert.kind == "verification_request" and action == "block" else action
