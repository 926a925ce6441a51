"""What the steps decide: findings and alerts, as values. Shells put them on topics; nothing here does I/O.

Scores are rounded to four places when a value is made, so that equal evidence gives equal bytes.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

Lane = Literal["pool", "account", "link", "probe", "entitlement"]
SubjectKind = Literal["account", "campaign"]
Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)  # Mildest first.
# "exploration": drawn at random from below the thresholds, so that people also judge what nothing points at.
AlertKind = Literal["alert", "verification_request", "entitlement_notice", "exploration"]


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One feature's part in a score: what was expected, what was seen, and how far out in the tail it lies."""

    feature: str
    actual: float
    expected: float  # The reference's median.
    weight: float  # This feature's addend in the score.


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer's account that a finding names. A lead with a strength in 0..1, never a verdict."""

    account: str
    customer: str
    requests: int
    strength: float
    since: str  # RFC 3339: the end of the hop in which it was first named.


class Finding(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="finding.v1"
):
    """A subject that a detector scored above its threshold in one hop. ``finding_id`` is a function of what it says."""

    finding_id: str
    lane: Lane
    detector: str
    family: str  # Name of the pool family; "" in the account lane.
    subject: str  # Pool key or account, 16 hex digits.
    hop: int
    event_time: str  # RFC 3339: the end of the hop.
    score: float
    threshold: float
    customers: int
    requests: int
    verified_share: float  # Share of the traffic from verified organisations.
    young_share: float
    network_share: float = 0.0  # Share of the members on the network that most of them are on; 0 where none is known.
    evidence: list[Evidence]
    members: list[Member]
    config_version: str
    provisional: bool = False  # Scored against a reference that was not made from this traffic.
    propensity: float = 1.0  # Below 1: not above the threshold, but drawn with this probability to be looked at.


class SourceClosed(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="source_closed.v1"
):
    """Control record on the findings topic: this source will send nothing more for ``hop`` or any hop before it."""

    job: Literal["accounts", "pools"]
    partition: int
    hop: int


class FindingReference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A finding as an alert quotes it."""

    finding_id: str
    lane: Lane
    detector: str
    family: str
    subject: str
    hop: int
    score: float
    customers: int
    requests: int


class Alert(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="alert.v1"):
    """One incident as an analyst sees it. The same ``alert_id`` comes again with a higher ``revision`` when it grows.

    ``contributions`` are those of the strongest finding. ``members`` of an account alert is the account itself.
    """

    alert_id: str
    revision: int
    kind: AlertKind
    lane: Lane
    subject_kind: SubjectKind
    subject: str
    event_time: str  # RFC 3339: when the first revision was raised.
    updated_time: str
    score: float
    severity: Severity
    confidence: float
    title: str
    requests: int
    contributions: list[Evidence]
    members: list[Member]
    findings: list[FindingReference]
    config_version: str
    tags: list[str] = []  # MITRE ATLAS techniques and OWASP LLM risks.
    clearing: list[str] = []  # What would clear it, in plain sentences.
    provisional: bool = False  # The reference behind it was not made from this traffic.
    corpus_share: float = 0.0  # Of a plausible training corpus, that the members' answers make.
    rank: float = 0.0  # Of its score over the threshold among those of the last incidents, 0..1.
    priority: float = 0.0  # The rank, blended with what people confirmed: the order within a severity, 0..1.
    model: str = ""  # The head in that blend, for example "supervised/57"; "" where none had a say.
    propensity: float = 1.0  # With which it was shown: below 1 for an exploration, which weighs its label.
