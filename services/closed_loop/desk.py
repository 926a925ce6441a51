"""Decisions in the loop: the product's own policy, signatures, cache and limits, without Kafka and without a database.

What differs from the live path is who approves (a lead who takes a fixed time and approves everything, wrong alerts
too) and where records travel (nowhere: they are signed here and checked by the cache).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from detection.ids import digest_hex, rfc3339
from detection.policy.decisions import InForce, Proposal, delay_ms, meanwhile, propose
from detection.policy.ladder import limits_of, trim_of
from schemas.decision import Decision
from services.adapters.signatures import Signer, Verifier
from services.gateway.enforcement.cache import DecisionCache

if TYPE_CHECKING:
    from detection.config import DecisionPolicy
    from detection.outcomes import Alert, Member
    from detection.policy.decisions import Licence

_TENANT: Final = "simulated"


@dataclass(frozen=True, slots=True)
class _Waiting:
    due_ms: int
    proposal: Proposal
    revision: int


class Desk:
    """Proposals in, records in the cache. ``approval_ms`` is what a lead takes; None: nobody approves anything."""

    def __init__(self, policy: DecisionPolicy, approval_ms: int | None, entitled: frozenset[str]) -> None:
        self._policy = policy
        self._approval_ms = approval_ms
        self._entitled = entitled
        self._signer = Signer(bytes(32))
        self.cache = DecisionCache(Verifier([self._signer.public], _TENANT))
        self._held: dict[tuple[str, str], tuple[InForce, frozenset[str]]] = {}
        self._waiting: dict[tuple[str, str], _Waiting] = {}
        self._sequence = 0
        self.issued: dict[str, int] = {}  # By action.

    def alert(self, alert: Alert, now_ms: int) -> None:
        """Take a revision of an alert."""
        subject = alert.alert_id if alert.subject_kind == "campaign" else alert.subject
        held = self._held.get((alert.subject_kind, subject))
        proposal = propose(
            alert,
            verdict=None,
            now_ms=now_ms,
            licence=self._licence,
            in_force=None if held is None else held[0],
            policy=self._policy,
        )
        if proposal is None:
            return
        accounts = frozenset(account for account, _ in proposal.members)
        if held is not None and held[0].action == proposal.action and held[1] == accounts:
            return
        key = proposal.subject_kind, proposal.subject
        first = meanwhile(proposal, None if held is None else held[0], self._policy)
        if first is not None:
            self._issue(first, alert.revision, now_ms, by_person=False)
        if proposal.automatic:
            self._issue(proposal, alert.revision, now_ms, by_person=False)
        elif self._approval_ms is not None:
            due = self._waiting[key].due_ms if key in self._waiting else now_ms + self._approval_ms
            self._waiting[key] = _Waiting(due, proposal, alert.revision)

    def approve_due(self, now_ms: int) -> None:
        """Approve what has waited long enough."""
        for key in [key for key, waiting in self._waiting.items() if waiting.due_ms <= now_ms]:
            waiting = self._waiting.pop(key)
            self._issue(waiting.proposal, waiting.revision, now_ms, by_person=True)

    def _licence(self, member: Member) -> Licence:
        return "entitled" if self._entitled & {member.account, member.customer} else "none"

    def _issue(self, proposal: Proposal, revision: int, now_ms: int, *, by_person: bool) -> None:
        key = proposal.subject_kind, proposal.subject
        before = self._held.get(key)
        same = before is not None and before[0].action == proposal.action
        since = before[0].since_ms if same and before is not None else now_ms
        self._sequence += 1
        decision_id = digest_hex("decision", *key, revision, self._sequence)
        begin = (
            now_ms if same else now_ms + delay_ms(self._signer.jitter_key, decision_id, proposal.action, self._policy)
        )
        decision = Decision(
            decision_id=decision_id,
            subject_kind=proposal.subject_kind,
            subject=proposal.subject,
            members=[account for account, _ in proposal.members] if proposal.subject_kind == "campaign" else [],
            action=proposal.action,
            limits=limits_of(proposal.action, len(proposal.members), self._policy),
            trim=trim_of(proposal.action, self._policy),
            reason_codes=proposal.reason_codes,
            evidence_id=proposal.evidence_id,
            issued_at=rfc3339(now_ms),
            effective_at=rfc3339(begin),
            expires_at=rfc3339(begin + proposal.lifetime_ms),
            dry_run=self._policy.dry_run,
            sequence=self._sequence,
            key_id="",
            signature="",
        )
        outcome = self.cache.take(self._signer.sign(decision, _TENANT), now_ms)
        if outcome != "applied":
            raise RuntimeError(f"a decision of the loop's own was {outcome}")
        accounts = frozenset(account for account, _ in proposal.members)
        self._held[key] = InForce(action=proposal.action, since_ms=since, by_person=by_person), accounts
        self.issued[proposal.action] = self.issued.get(proposal.action, 0) + 1
