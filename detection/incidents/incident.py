"""One incident: what was found, who is in its core, who is named, and the alert that it makes.

The core are the customers chosen by the pool that founded the incident, and those of pools that mostly lie inside it
who have strong evidence of their own; only the core draws further pools in. Members may be more. A pool of young
customers never extends a core: a launch or a class is young as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from detection.families import FAMILIES, Family
from detection.features.wording import because
from detection.outcomes import (
    Alert,
    AlertKind,
    Finding,
    FindingReference,
    Lane,
    Member,
    Severity,
    SubjectKind,
)
from detection.policy.purpose import is_harvest, is_study
from detection.policy.severity import confidence_of, severity_of
from detection.policy.telling import clearing_of, corpus_share, tags_of

if TYPE_CHECKING:
    from detection.config import IncidentPolicy

CORE_STRENGTH: Final = 0.5
COHESION: Final = 0.5  # A pool may extend a core that holds at least this share of the pool's customers.
ONE_NETWORK: Final = 0.8  # So many of the members on one network are one place, proxies beside it or not.
_COHORT: Final = "cohort"
_NETWORK: Final = "network"
_FINDINGS_QUOTED: Final = 64


class Incident(msgspec.Struct, kw_only=True):
    """An open incident. ``revision`` is 0 until it is raised."""

    alert_id: str
    lane: Lane
    subject_kind: SubjectKind
    subject: str
    last_hop: int
    looks: int = 0  # Hops in which there was a finding.
    founded_hop: int = -1
    raised_hop: int = -1
    revision: int = 0
    raised_time: str = ""
    raised_members: int = 0
    raised_named: int = 0
    raised_score: float = 0.0
    raised_kind: AlertKind = "alert"
    core: set[str] = set()  # Customers.
    members: dict[str, Member] = {}  # By account.
    findings: dict[str, Finding] = {}  # The last finding of each subject, without its members.
    strongest: Finding | None = None  # Without its members.
    peaks: dict[str, float] = {}  # The highest score over the threshold of each lane's findings.

    def absorb(self, finding: Finding, members: list[Member]) -> None:
        """Take a finding whose entitled members are left out already; the one that founds the incident comes first."""
        alone = len(finding.members) == 1  # A claim of its own about one account.
        customers = {member.customer for member in members}
        cohesion = len(customers & self.core) / len(customers) if customers and self.core else 0.0
        if not self.findings or finding.subject == self.subject:
            self.core |= customers
        elif alone or (cohesion >= COHESION and group_of(finding) != _COHORT):
            self.core |= {member.customer for member in members if member.strength >= CORE_STRENGTH}
        for member in members:
            self._name(member, inside=member.customer in self.core)
        bare = msgspec.structs.replace(finding, members=[])
        self.findings[finding.subject] = bare
        # A campaign's alert tells of the group.
        speaks = self.subject_kind == "account" or not alone or finding.lane == self.lane == "probe"
        if self.strongest is None or (speaks and finding.score / finding.threshold > self.ratio):
            self.strongest = bare
        self.looks += self.founded_hop < 0 or finding.hop > self.last_hop
        self.last_hop = finding.hop
        self.founded_hop = finding.hop if self.founded_hop < 0 else self.founded_hop
        self.peaks[finding.lane] = max(self.peaks.get(finding.lane, 0.0), finding.score / finding.threshold)

    @property
    def ratio(self) -> float:
        """Score over threshold of the strongest finding."""
        return self.strongest.score / self.strongest.threshold if self.strongest else 0.0

    @property
    def severity(self) -> Severity:
        """Grade it by its strongest finding and its size."""
        return severity_of(self.ratio, 1.0, self.customers)

    @property
    def confidence(self) -> float:
        """Say how sure it is, 0..1."""
        groups = self.groups
        return confidence_of(self.ratio, 1.0, len(groups), cohort_only=groups == {_COHORT})

    @property
    def groups(self) -> set[str]:
        """Name the kinds of key that its findings go by."""
        return {group_of(finding) for finding in self.findings.values()}

    def is_confirmed(self, policy: IncidentPolicy) -> bool:
        """Tell whether it may be raised: a crowd that shares only what strangers share is found twice first.

        A pool is looked at whenever it has grown by a quarter, and one of those looks is odd by chance in the end.
        """
        return (
            self.customers < policy.crowd
            or self.looks >= policy.looks
            or any(
                finding.lane != "pool" or not FAMILIES[Family[finding.family.upper()]].shared_by_design
                for finding in self.findings.values()
            )
        )

    @property
    def customers(self) -> int:
        """Number of customers named."""
        return len({member.customer for member in self.members.values()})

    @property
    def named(self) -> int:
        """Number of accounts named with a strength of one half or more."""
        return sum(member.strength >= CORE_STRENGTH for member in self.members.values())

    def kind(self, verified_share: float) -> AlertKind:
        """Ask where the evidence cannot tell a firm from a harvest.

        That is: mostly verified customers; or one network holds them all, and nothing that they ask for is a harvest's.
        """
        total = sum(finding.requests for finding in self.findings.values())
        verified = sum(finding.requests * finding.verified_share for finding in self.findings.values())
        if verified > verified_share * total:
            return "verification_request"
        if self.lane == "account":
            return "verification_request" if self.strongest and is_study(self.strongest) else "alert"
        harvest = any(is_harvest(finding) for finding in self.findings.values())
        return "verification_request" if self._one_network() and not harvest else "alert"

    def grew(self, policy: IncidentPolicy, hop_ms: int) -> bool:
        """Tell whether a raised incident has something new to say after its last finding."""
        growth = policy.growth
        stale = (self.last_hop - self.raised_hop) * hop_ms >= policy.refresh_ms
        return (
            (stale and self.named > self.raised_named)
            or len(self.members) >= growth * self.raised_members
            or self.named >= max(growth * self.raised_named, 1)
            or self.ratio >= growth * self.raised_score
            or self.kind(policy.verified_share) != self.raised_kind
        )

    def alert(self, hop: int, time: str, verified_share: float, config_version: str) -> Alert:
        """Make the next revision; ``time`` is the end of ``hop``, RFC 3339."""
        strongest = self.strongest
        if strongest is None:
            raise ValueError(f"the incident {self.alert_id} has no finding")
        self.revision += 1
        self.raised_hop, self.raised_time = hop, self.raised_time or time
        self.raised_members, self.raised_named, self.raised_score = len(self.members), self.named, self.ratio
        self.raised_kind = self.kind(verified_share)
        members = [self.members[account] for account in sorted(self.members)]
        if self.raised_kind == "verification_request":
            # A question is no claim: nobody is named above one half.
            members = [msgspec.structs.replace(one, strength=min(one.strength, CORE_STRENGTH)) for one in members]
        quoted = sorted(self.findings.values(), key=lambda f: (-f.score / f.threshold, f.subject))[:_FINDINGS_QUOTED]
        return Alert(
            alert_id=self.alert_id,
            revision=self.revision,
            kind=self.raised_kind,
            lane=self.lane,
            subject_kind=self.subject_kind,
            subject=self.subject,
            event_time=self.raised_time,
            updated_time=time,
            score=strongest.score,
            severity=self.severity,
            confidence=self.confidence,
            title=_title(self, strongest, self.groups),
            requests=sum(member.requests for member in members),
            contributions=strongest.evidence,
            members=members,
            findings=[quote(finding) for finding in quoted],
            config_version=config_version,
            tags=tags_of(self.lane, one_network=self._one_network()),
            clearing=clearing_of(self.lane, self.raised_kind),
            provisional=any(finding.provisional for finding in self.findings.values()),
            corpus_share=corpus_share(sum(member.requests for member in members)),
        )

    def _one_network(self) -> bool:
        pools = [finding for finding in self.findings.values() if finding.family]
        return bool(pools) and all(
            group_of(finding) == _NETWORK or finding.network_share >= ONE_NETWORK for finding in pools
        )

    def _name(self, member: Member, *, inside: bool) -> None:
        """Add a member, or raise what is known of it. Outside the core a claim stays below one half."""
        strength = member.strength if inside else min(member.strength, CORE_STRENGTH - 0.01)
        known = self.members.get(member.account)
        if known is None:
            self.members[member.account] = msgspec.structs.replace(member, strength=round(strength, 4))
            return
        self.members[member.account] = msgspec.structs.replace(
            known,
            requests=max(known.requests, member.requests),
            strength=round(max(known.strength, strength), 4),
        )


def group_of(finding: Finding) -> str:
    """Name the group of the finding's key family; the lane's name where it is not a pool's."""
    return FAMILIES[Family[finding.family.upper()]].group if finding.family else finding.lane


def quote(finding: Finding) -> FindingReference:
    """Give the finding as an alert quotes it."""
    return FindingReference(
        finding_id=finding.finding_id,
        lane=finding.lane,
        detector=finding.detector,
        family=finding.family,
        subject=finding.subject,
        hop=finding.hop,
        score=finding.score,
        customers=finding.customers,
        requests=finding.requests,
    )


def _title(incident: Incident, strongest: Finding, groups: set[str]) -> str:
    reasons = because(item.feature for item in strongest.evidence if item.weight > 0) or "no single feature leads"
    if incident.subject_kind == "account":
        asks = ": ask what it is for" if incident.raised_kind == "verification_request" else ""
        return f"One account stands out from honest ones after {strongest.requests:,} requests: {reasons}{asks}"
    who = "1 customer" if incident.customers == 1 else f"{incident.customers:,} customers"
    if strongest.lane == "probe":
        return f"{who} with the same settings read log probabilities: {reasons}"
    shared = FAMILIES[Family[strongest.family.upper()]].attribute
    more = f" (and {len(groups) - 1} more)" if len(groups) > 1 else ""
    if strongest.lane == "account":
        asks = ": ask what it is for" if incident.raised_kind == "verification_request" else ""
        return f"{who} with {shared} pursue one purpose: {reasons}{asks}"
    if incident.raised_kind == "verification_request":
        return f"{who} with {shared}{more} are one firm or one harvest: ask who they are"
    return f"{who} with {shared}{more} act like one operator: {reasons}"
