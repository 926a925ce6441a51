"""The ladder of responses: which rungs there are, where a response begins, how high it may go, and what a rung asks.

Each rung holds what the rungs below it ask: who is blocked is not served, who is challenged is trimmed and throttled
until the challenge is met.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from detection.config import DecisionPolicy
    from detection.outcomes import AlertKind, Lane, Severity

Action: TypeAlias = Literal["allow", "observe", "throttle", "trim", "challenge", "block"]

RUNGS: Final[tuple[Action, ...]] = ("allow", "observe", "throttle", "trim", "challenge", "block")
_HEIGHT: Final[dict[Action, int]] = {action: place for place, action in enumerate(RUNGS)}
# Where a response begins once the policy is confident enough, and how far new evidence over time may carry it.
_BEGINNING: Final[dict[Severity, Action]] = {
    "low": "observe",
    "medium": "throttle",
    "high": "trim",
    "critical": "challenge",
}
_CEILING: Final[dict[Severity, Action]] = {
    "low": "throttle",
    "medium": "trim",
    "high": "challenge",
    "critical": "block",
}
# What a probe takes, log probabilities and biases, is what a trimmed answer lacks and hardly anybody else misses.
_REMEDY: Final[dict[Lane, Action]] = {"probe": "trim"}
_QUESTION: Final[Action] = "challenge"  # A question for verification is answered or not; it never ends in a block.


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of each account by itself: requests a minute (a bucket of as many tokens), and requests at the same time.

    ``shared_requests_per_hour`` is of the subject's accounts together: a harvest spread over many accounts feels
    nothing else. Each gateway process counts for itself.
    """

    requests_per_minute: int
    concurrency: int
    shared_requests_per_hour: int


class Trim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an answer may still carry. Copying lives on probabilities, samples and traces; conversation does not."""

    logprobs: bool
    logit_bias: bool
    reasoning: bool
    n: int
    max_tokens: int


def height(action: Action) -> int:
    """Give a rung's place on the ladder, from 0."""
    return _HEIGHT[action]


def lower(first: Action, second: Action) -> Action:
    """Give the milder of two actions."""
    return first if _HEIGHT[first] <= _HEIGHT[second] else second


def higher(first: Action, second: Action) -> Action:
    """Give the stronger of two actions."""
    return second if _HEIGHT[first] <= _HEIGHT[second] else first


def beginning(severity: Severity, lane: Lane, confidence: float, minimum_confidence: float) -> Action:
    """Give the rung that severity and lane ask for; without enough confidence it is watched only."""
    if confidence < minimum_confidence:
        return "observe"
    return higher(_BEGINNING[severity], _REMEDY.get(lane, "observe"))


def ceiling(severity: Severity, lane: Lane, kind: AlertKind) -> Action:
    """Give the highest rung that this alert can ever reach."""
    highest = higher(_CEILING[severity], _REMEDY.get(lane, "observe"))
    return highest if kind == "alert" else lower(highest, _QUESTION)


def next_rung(action: Action) -> Action:
    """Give the rung above, or the highest itself."""
    return RUNGS[min(_HEIGHT[action] + 1, len(RUNGS) - 1)]


def limits_of(action: Action, accounts: int, policy: DecisionPolicy) -> Limits | None:
    """Give the limits that a rung sets for a subject of so many accounts, from throttle upwards."""
    if _HEIGHT[action] < _HEIGHT["throttle"]:
        return None
    return Limits(
        requests_per_minute=policy.requests_per_minute,
        concurrency=policy.concurrency,
        shared_requests_per_hour=max(policy.shared_floor, math.ceil(accounts * policy.shared_per_account)),
    )


def trim_of(action: Action, policy: DecisionPolicy) -> Trim | None:
    """Give what a rung leaves of an answer, from trim upwards."""
    if _HEIGHT[action] < _HEIGHT["trim"]:
        return None
    return Trim(logprobs=False, logit_bias=False, reasoning=False, n=1, max_tokens=policy.max_tokens)
