"""Lane G: customers linked by prompts that they send within seconds of each other.

One dispatcher that asks several accounts the same thing (best of n, agreement, comparison) leaves coincidences that
strangers do not: a prompt of eight words and more, at one moment, from two customers. A pair is linked once it shares
several *different* prompts; customers that hang together by links, four and more, are one operator's. What a crowd
sends at one moment links nobody, and everything is forgotten after three days.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final

import msgspec

from detection.ids import digest_hex, rfc3339
from detection.linking import strength_of
from detection.outcomes import Evidence, Finding, Member
from detection.state.bounds import outdated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detection.config import DetectionConfig

DETECTOR: Final = "operator_links"
_PROMPTS_KEPT: Final = 16
_ACCOUNTS_KEPT: Final = 4  # Of one customer: those of the smallest ids.
_ID: Final = 16  # Digits.


class Pair(msgspec.Struct):
    """Two customers: the prompts that they share (at most 16, the smallest hashes) and the last hop of one."""

    prompts: list[str]
    last_hop: int


class LinkState(msgspec.Struct):
    """What is durable. Customers are keys of 16 digits; a pair's key is both, the smaller first."""

    pairs: dict[str, Pair] = {}
    accounts: dict[str, list[str]] = {}
    verified: dict[str, float] = {}


class Links:
    """The graph of all customers that share prompts. Pure; the order of coincidences within a hop changes nothing."""

    def __init__(self, config: DetectionConfig, state: LinkState | None = None) -> None:
        self._config = config
        self.state = state if state is not None else LinkState()

    def close(self, hop: int, coincidences: Iterable[Finding]) -> list[Finding]:
        """Take one hop's coincidences; give a finding for each component that they touched."""
        lane = self._config.links
        touched = {customer for one in coincidences for customer in self._count(hop, one)}
        if not touched:
            return []
        self._forget(hop)
        neighbours = self._neighbours(lane.coincidences)
        findings = []
        for customer in sorted(touched & neighbours.keys()):
            if customer in touched:
                component = _component(customer, neighbours)
                touched -= component
                if len(component) >= lane.component:
                    findings.append(self._finding(hop, sorted(component), neighbours))
        return findings

    def _count(self, hop: int, one: Finding) -> list[str]:
        """Note one coincidence; give its customers."""
        by_customer: dict[str, set[str]] = {}
        for member in one.members:
            by_customer.setdefault(member.customer, set()).add(member.account)
        for left, right in combinations(sorted(by_customer), 2):
            pair = self.state.pairs.setdefault(left + right, Pair([], hop))
            pair.prompts = sorted({*pair.prompts, one.subject})[:_PROMPTS_KEPT]
            pair.last_hop = hop
        for customer, accounts in by_customer.items():
            known = self.state.accounts.get(customer, ())
            self.state.accounts[customer] = sorted({*known, *accounts})[:_ACCOUNTS_KEPT]
            self.state.verified[customer] = max(self.state.verified.get(customer, 0.0), one.verified_share)
        return list(by_customer)

    def _neighbours(self, least: int) -> dict[str, dict[str, int]]:
        """Give each linked customer's peers with the number of prompts that they share."""
        neighbours: dict[str, dict[str, int]] = {}
        for key, pair in self.state.pairs.items():
            if len(pair.prompts) >= least:
                left, right = key[:_ID], key[_ID:]
                neighbours.setdefault(left, {})[right] = len(pair.prompts)
                neighbours.setdefault(right, {})[left] = len(pair.prompts)
        return neighbours

    def _forget(self, hop: int) -> None:
        limit = hop - self._config.links.window_ms // self._config.clocking.hop_ms
        pairs = self.state.pairs
        gone = outdated({key: pair.last_hop for key, pair in pairs.items()}, limit, self._config.links.maximum_pairs)
        for key in gone:
            del pairs[key]
        if gone:
            known = {customer for key in pairs for customer in (key[:_ID], key[_ID:])}
            self.state.accounts = {key: value for key, value in self.state.accounts.items() if key in known}
            self.state.verified = {key: value for key, value in self.state.verified.items() if key in known}

    def _finding(self, hop: int, component: list[str], neighbours: dict[str, dict[str, int]]) -> Finding:
        time = rfc3339((hop + 1) * self._config.clocking.hop_ms)
        members = []
        for customer in component:
            shared = sum(neighbours[customer].values())
            strength = strength_of(shared - self._config.links.coincidences)
            members += [
                Member(account=account, customer=customer, requests=shared, strength=strength, since=time)
                for account in self.state.accounts[customer]
            ]
        links = sum(sum(neighbours[customer].values()) for customer in component) / len(component)
        return Finding(
            finding_id=digest_hex(DETECTOR, component[0], hop, self._config.version),
            lane="link",
            detector=DETECTOR,
            family="coincidence",
            subject=component[0],
            hop=hop,
            event_time=time,
            score=round(links, 4),
            threshold=float(self._config.links.coincidences),
            customers=len(component),
            requests=sum(member.requests for member in members),
            verified_share=round(sum(self.state.verified[customer] for customer in component) / len(component), 4),
            young_share=0.0,
            evidence=[Evidence(feature="coincidences", actual=round(links, 4), expected=0.0, weight=round(links, 4))],
            members=members,
            config_version=self._config.version,
        )


def _component(start: str, neighbours: dict[str, dict[str, int]]) -> set[str]:
    found, frontier = {start}, [start]
    while frontier:
        for other in neighbours[frontier.pop()]:
            if other not in found:
                found.add(other)
                frontier.append(other)
    return found
