"""The enforcer that follows Stillwatch's decisions: memory only on the way of a request, fail open by default.

Dry runs are looked up and counted as what they would have done, and change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from services.gateway.enforcement.limiting import Limiter
from services.gateway.enforcement.trimming import trimmed
from services.gateway.middleware.enforcing import Action, Refusal
from services.gateway.publishing.counts import RULINGS

if TYPE_CHECKING:
    from typing import Any

    from detection.policy.ladder import Trim
    from schemas.decision import Decision
    from services.adapters.clock import Clock
    from services.gateway.enforcement.cache import DecisionCache
    from services.gateway.middleware.enforcing import Asked, Transform
    from services.gateway.publishing.counts import Counts
    from services.gateway.routes import Api

_HEADER: Final = b"x-stillwatch-decision"


class NotLoadedError(Exception):
    """The decisions have not been read yet, and this gateway fails closed."""


class Follower(Protocol):
    """What keeps the cache up to date in a thread of its own."""

    @property
    def loaded(self) -> bool:
        """Whether all that held at the start has been read once."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, and wait for the thread."""


class DecisionEnforcer:
    """See ``Enforcer``. ``contact`` is where a refused developer can turn to; ``headers`` shows decisions."""

    def __init__(
        self,
        cache: DecisionCache,
        follower: Follower,
        counts: Counts,
        clock: Clock,
        *,
        contact: str = "",
        headers: bool = False,
        fail_closed: bool = False,
        switched_on: bool = True,
    ) -> None:
        self._cache = cache
        self._follower = follower
        self._counts = counts
        self._clock = clock
        self._limits = Limiter()
        self._contact = f" Contact {contact} and quote" if contact else " Contact the provider and quote"
        self._headers = headers
        self._fail_closed = fail_closed
        self._switched_on = switched_on

    def start(self) -> None:
        """Follow the decisions."""
        self._follower.start()

    def stop(self) -> None:
        """Stop following."""
        self._follower.stop()

    def decide(self, asked: Asked) -> Action | None:
        """Decide from memory; raises NotLoadedError where it must not guess."""
        if not self._switched_on:
            return None
        if self._fail_closed and not self._follower.loaded:
            raise NotLoadedError
        held = self._cache.ruling(asked.account, asked.organization, self._clock.now_ms())
        if held is None:
            return None
        decision = held.decision
        self._counts.add(RULINGS, decision.action, str(decision.dry_run).lower())
        if decision.dry_run:
            return None
        return self._apply(decision, asked)

    def _apply(self, decision: Decision, asked: Asked) -> Action | None:
        shown = self._shown(decision)
        if decision.action in {"allow", "observe"}:
            return Action(headers=shown) if shown else None
        if decision.action == "block":
            return Action(refusal=self._blocked(decision), headers=shown)
        if decision.action == "challenge":
            return Action(refusal=self._challenged(decision), headers=shown)
        leave = None
        if decision.limits is not None:
            wait = self._limits.enter(asked.account, decision.subject, decision.limits, self._clock.monotonic())
            if wait is not None:
                return Action(refusal=self._throttled(decision, wait), headers=shown)
            account = asked.account

            def leave() -> None:
                self._limits.leave(account)

        transform = None if decision.trim is None else _transform(decision.trim, asked.api)
        return Action(transform=transform, headers=shown, finished=leave)

    def _shown(self, decision: Decision) -> tuple[tuple[bytes, bytes], ...]:
        return ((_HEADER, f"{decision.action};id={decision.decision_id}".encode()),) if self._headers else ()

    def _blocked(self, decision: Decision) -> Refusal:
        message = (
            "This key is suspended: its traffic was reviewed and looks like systematic extraction of model answers, "
            f"which the terms of use forbid. The suspension ends at {decision.expires_at} unless it is renewed."
            f"{self._contact} reference {decision.decision_id} if this is a mistake or you hold a licence."
        )
        return Refusal(403, "account_suspended", message)

    def _challenged(self, decision: Decision) -> Refusal:
        message = (
            "This key needs verification before it can be used again: its traffic resembles that of many other keys."
            f"{self._contact} reference {decision.decision_id}, with who you are and what you use the answers for. "
            "Requests are not counted against you in the meantime."
        )
        return Refusal(403, "verification_required", message)

    def _throttled(self, decision: Decision, wait: float) -> Refusal:
        limits = decision.limits
        said = (
            f"{limits.requests_per_minute} requests a minute, {limits.concurrency} at the same time" if limits else ""
        )
        message = (
            f"This key is limited until {decision.expires_at}: at most {said}, and a share of the hourly limit of keys "
            "that act like it. Wait for the time in Retry-After and send the "
            f"request again.{self._contact} reference {decision.decision_id} if you need more."
        )
        return Refusal(429, "rate_limited_by_policy", message, retry_after_seconds=max(1, round(wait + 0.499)))


def _transform(trim: Trim, api: Api) -> Transform:
    def transform(body: dict[str, Any]) -> dict[str, Any]:
        return trimmed(body, trim, api)

    return transform
