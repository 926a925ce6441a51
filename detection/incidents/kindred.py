"""Accounts that pursue one purpose with the same settings: alone each may be too little, together they are a campaign.

An account that pursues a purpose beyond any honest account leaves evidence of it, an e-value that grows with its
requests (``detection.accounts.purposes``). Settings are shared by strangers too, so of those that share them only a
small share is part of anything: ``accounts.kindred_share``, before any evidence. With that prior an account's evidence
weighs its nats less ``ln(1 / kindred_share)``, and those that are left with something add up, for the product of
independent e-values is one (Vovk and Wang 2021, arXiv 1912.06116). They are told where one of them would raise an alarm
by itself, or their sum is as much; a member's strength is the posterior, one half where evidence and prior are even.

Who shares the settings and pursues nothing costs ``kindred_share`` nats each, which is not counted: for settings with
hundreds of customers the bound on false alarms is that much weaker.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from detection.detectors.tail import MOST_CERTAIN
from detection.families import Family
from detection.ids import digest_hex, rfc3339
from detection.outcomes import Evidence, Finding, Member
from detection.state.bounds import outdated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from detection.config import DetectionConfig

DETECTOR: Final = "shared_purpose"
LEAST_CUSTOMERS: Final = 2
_FAMILY: Final = Family.CONFIGURATION.name.lower()
_DIGITS: Final = 4
_ID: Final = 16  # Digits.


class Pursuit(msgspec.Struct, array_like=True):
    """One account with some settings: what it pursues, as of its last milestone with evidence of something."""

    customer: str
    requests: int
    last_hop: int
    nats: dict[str, float]  # By purpose, those beyond ``ln(1 / kindred_share)``.
    shares: dict[str, float]  # Of its requests with text that were of that purpose,
    honest: dict[str, float]  # and the most that anybody honest did.
    verified: float
    young: float
    provisional: bool


class KindredState(msgspec.Struct):
    """What is durable: accounts by their settings, both 16 hex digits."""

    pursuits: dict[str, dict[str, Pursuit]] = {}


class Kindred:
    """All accounts with evidence of a purpose. Pure; the order of facts within a hop changes nothing."""

    def __init__(self, config: DetectionConfig, state: KindredState | None = None) -> None:
        self._config = config
        self._prior = -math.log(config.accounts.kindred_share)
        self._bound = -math.log(config.accounts.purpose_alarms)
        self.state = state if state is not None else KindredState()

    def close(self, hop: int, facts: Iterable[Finding]) -> list[Finding]:
        """Take one hop's facts; give a finding for each settings and purpose that they touched and that is told."""
        touched: set[tuple[str, str]] = set()
        for fact in sorted(facts, key=lambda one: (one.requests, one.finding_id)):
            self._count(fact)
            touched.update((fact.subject, item.feature) for item in fact.evidence)
        if not touched:
            return []
        self._forget(hop)
        found = (self._together(hop, settings, purpose) for settings, purpose in sorted(touched))
        return [finding for finding in found if finding is not None]

    def _count(self, fact: Finding) -> None:
        for member in fact.members:
            self.state.pursuits.setdefault(fact.subject, {})[member.account] = Pursuit(
                customer=member.customer,
                requests=fact.requests,
                last_hop=fact.hop,
                nats={item.feature: item.weight for item in fact.evidence},
                shares={item.feature: item.actual for item in fact.evidence},
                honest={item.feature: item.expected for item in fact.evidence},
                verified=fact.verified_share,
                young=fact.young_share,
                provisional=fact.provisional,
            )

    def _forget(self, hop: int) -> None:
        limit = hop - self._config.incidents.quiet_ms // self._config.clocking.hop_ms
        pursuits = self.state.pursuits
        last = {(settings + account): one.last_hop for settings, of in pursuits.items() for account, one in of.items()}
        for key in outdated(last, limit, self._config.accounts.maximum_kindred):
            settings, account = key[:_ID], key[_ID:]
            del pursuits[settings][account]
            if not pursuits[settings]:
                del pursuits[settings]

    def _together(self, hop: int, settings: str, purpose: str) -> Finding | None:
        lane = self._config.accounts
        mine = {
            account: one
            for account, one in sorted(self.state.pursuits.get(settings, {}).items())
            if one.nats.get(purpose, 0.0) > self._prior
        }
        customers = len({one.customer for one in mine.values()})
        if customers < LEAST_CUSTOMERS:
            return None
        together = sum(self._beyond(one, purpose) for one in mine.values())
        nats = max(together, *(one.nats[purpose] for one in mine.values()))
        if nats < self._bound:
            return None
        score = round(nats / self._bound * lane.threshold, _DIGITS)
        requests = sum(one.requests for one in mine.values())

        def mean(share: Callable[[Pursuit], float]) -> float:
            return round(sum(share(one) * one.requests for one in mine.values()) / requests, _DIGITS)

        time = rfc3339((hop + 1) * self._config.clocking.hop_ms)
        return Finding(
            finding_id=digest_hex(DETECTOR, settings, purpose, hop, self._config.version),
            lane="account",
            detector=DETECTOR,
            family=_FAMILY,
            subject=settings,
            hop=hop,
            event_time=time,
            score=score,
            threshold=lane.threshold,
            customers=customers,
            requests=requests,
            verified_share=mean(lambda one: one.verified),
            young_share=mean(lambda one: one.young),
            evidence=[
                Evidence(
                    feature=purpose,
                    actual=mean(lambda one: one.shares[purpose]),
                    expected=max(one.honest[purpose] for one in mine.values()),
                    weight=score,
                )
            ],
            members=[
                Member(
                    account=account,
                    customer=one.customer,
                    requests=one.requests,
                    strength=round(min(1.0 / (1.0 + math.exp(-self._beyond(one, purpose))), MOST_CERTAIN), _DIGITS),
                    since=time,
                )
                for account, one in mine.items()
            ],
            config_version=self._config.version,
            provisional=any(one.provisional for one in mine.values()),
        )

    def _beyond(self, one: Pursuit, purpose: str) -> float:
        return one.nats[purpose] - self._prior
