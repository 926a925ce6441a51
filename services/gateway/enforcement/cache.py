"""Decisions in memory: each checked once when it comes, looked up by account and organisation in constant time.

Of one subject the highest sequence number stands. What is not above the last one known is a replay and changes
nothing; its number is remembered after its end, so that no older record can come back in its place. One thread writes,
any thread reads: values are replaced, never changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from detection.ids import parse_rfc3339
from detection.policy.ladder import height
from services.adapters.signatures import RefusedRecordError

if TYPE_CHECKING:
    from schemas.decision import Decision
    from services.adapters.signatures import Verifier

Outcome: TypeAlias = Literal["applied", "unreadable", "unknown_key", "forged", "replayed", "expired"]
_TENANT: Final = ("tenant", "tenant")


@dataclass(frozen=True, slots=True)
class Held:
    """One decision with its moments as ms, and its place on the ladder."""

    decision: Decision
    effective_ms: int
    expires_ms: int
    height: int


class DecisionCache:
    """What a gateway knows. ``take`` is called by the follower's thread alone."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._by_subject: dict[tuple[str, str], Held] = {}
        self._sequences: dict[tuple[str, str], int] = {}
        self._by_account: dict[str, tuple[Held, ...]] = {}

    def __len__(self) -> int:
        return len(self._by_subject)

    def take(self, raw: bytes, now_ms: int) -> Outcome:
        """Check one record and hold it where it is news."""
        try:
            decision = self._verifier.read(raw)
            effective, expires = parse_rfc3339(decision.effective_at), parse_rfc3339(decision.expires_at)
        except RefusedRecordError as refused:
            return refused.reason
        except (ValueError, OverflowError):
            return "unreadable"
        subject = decision.subject_kind, decision.subject
        if decision.sequence <= self._sequences.get(subject, 0):
            return "replayed"
        self._sequences[subject] = decision.sequence
        self._drop(subject)
        if expires <= now_ms:
            return "expired"
        self._hold(subject, Held(decision, effective, expires, height(decision.action)))
        return "applied"

    def ruling(self, account: str, organization: str, now_ms: int) -> Held | None:
        """Give what holds for a request: an allow before all, else the strongest; dry runs only where nothing else is.

        None where nothing was decided. Names that are absent are "".
        """
        best: Held | None = None
        for held in self._candidates(account, organization):
            if not held.effective_ms <= now_ms < held.expires_ms:
                continue
            if held.decision.action == "allow":
                return held
            if best is None or _weight(held) > _weight(best):
                best = held
        return best

    def prune(self, now_ms: int) -> int:
        """Forget what has ended, but not its sequence number; give how many went."""
        ended = [subject for subject, held in self._by_subject.items() if held.expires_ms <= now_ms]
        for subject in ended:
            self._drop(subject)
        return len(ended)

    def _candidates(self, account: str, organization: str) -> tuple[Held, ...]:
        found = self._by_account.get(account, ()) if account else ()
        tenant = self._by_subject.get(_TENANT)
        if tenant is not None:
            found = (tenant, *found)
        owner = self._by_subject.get(("organization", organization)) if organization else None
        return found if owner is None else (*found, owner)

    def _hold(self, subject: tuple[str, str], held: Held) -> None:
        for account in self._accounts(held.decision):
            self._by_account[account] = (*self._by_account.get(account, ()), held)
        self._by_subject[subject] = held

    def _drop(self, subject: tuple[str, str]) -> None:
        before = self._by_subject.pop(subject, None)
        if before is None:
            return
        for account in self._accounts(before.decision):
            left = tuple(each for each in self._by_account.get(account, ()) if each is not before)
            if left:
                self._by_account[account] = left
            else:
                self._by_account.pop(account, None)

    @staticmethod
    def _accounts(decision: Decision) -> list[str]:
        return [decision.subject] if decision.subject_kind == "account" else decision.members


def _weight(held: Held) -> tuple[bool, int]:
    """Put what is enforced before what is only tried out, then the higher rung first."""
    return not held.decision.dry_run, held.height
