"""What goes over the wire of the API, as pydantic models of their own: the tables may change without it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from detection.outcomes import AlertKind, Lane, Severity, SubjectKind
from schemas.label import LabelVerdict, Verdict
from services.adapters.postgres.alerts import State
from services.adapters.postgres.cursors import MAXIMUM_PAGE
from services.identity.roles import Permission

if TYPE_CHECKING:
    from services.adapters.postgres.alerts import AlertDetail as Found

Item = TypeVar("Item")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)


def _as_rfc_3339(value: object) -> object:
    """Refuse what pydantic would read as seconds since the epoch: the API speaks RFC 3339 only."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and _RFC_3339.match(value)):
        raise ValueError("the moment is not RFC 3339")
    return value


def _in_range(moment: datetime) -> datetime:
    if not _FIRST <= moment <= _LAST:
        raise ValueError("the moment lies outside the years 1970 to 9998")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_in_range), BeforeValidator(_as_rfc_3339)]
RecordId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.:-]{1,128}$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
# PostgreSQL's text cannot hold the character 0, and a reason is more than blanks.
Words = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]


Name = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.:@+ -]{1,100}$")]
Volume = Annotated[int, Field(ge=1, le=2**53 - 1)]


class Answer(BaseModel):
    """Read from rows by their attributes."""

    model_config = ConfigDict(from_attributes=True)


class Query(BaseModel):
    """A query string; a parameter that the API does not know is refused, for it would filter nothing."""

    model_config = ConfigDict(extra="forbid")


class Paging(Query):
    """Where a page begins and how long it may be."""

    limit: int = Field(default=50, ge=1, le=MAXIMUM_PAGE)
    cursor: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,400}$")] | None = None


class AlertQuery(Paging):
    """Filters of alert lists."""

    state: State | None = None
    severity: Severity | None = None
    kind: AlertKind | None = None
    lane: Lane | None = None
    account: Identifier | None = Field(default=None, description="Alerts that name this account.")
    customer: Identifier | None = Field(default=None, description="Alerts with a member of this organisation.")
    detector: Name | None = None
    family: Name | None = None
    assignee: Name | None = None
    tag: Name | None = None
    since: Moment | None = Field(default=None, description="Event time from here on.")
    until: Moment | None = Field(default=None, description="Event time before this.")


class EntitlementQuery(Paging):
    """Filters of the list of entitlements."""

    subject: Identifier | None = None
    in_force: bool = Field(default=False, description="Only those that hold now.")


class PageOf(BaseModel, Generic[Item]):
    """Items in order, and the cursor of the next page; absent at the end."""

    items: list[Item]
    next_cursor: str | None = None


class AlertSummary(Answer):
    """One alert as lists show it.

    ``version`` is its ETag's number, ``priority`` its severity as 1 to 4 plus a share below 1.
    """

    alert_id: str
    revision: int
    version: int
    kind: AlertKind
    lane: Lane
    subject_kind: SubjectKind
    subject: str
    state: State
    severity: Severity
    score: float
    confidence: float
    title: str
    event_time: datetime
    updated_time: datetime
    stored_at: datetime
    requests: int
    member_count: int
    config_version: str
    detector: str
    family: str
    priority: float
    assignee: str | None
    lease_until: datetime | None
    snoozed_until: datetime | None
    reopened_revision: int | None
    entitled_until: datetime | None
    label_id: str | None
    tags: list[str]


class Contribution(BaseModel):
    """One feature's part in the score: what was expected, what was seen."""

    feature: str
    actual: float
    expected: float
    weight: float


class Finding(Answer):
    """One finding that the alert quotes."""

    finding_id: str
    lane: Lane
    detector: str
    family: str
    subject: str
    hop: int
    score: float
    customers: int
    requests: int


class Member(Answer):
    """One account that the alert names: a lead with a strength in 0..1, never a verdict."""

    account: str
    customer: str
    requests: int
    strength: float
    since: datetime


class LabelAnswer(Answer):
    """One verdict."""

    label_id: str
    alert_id: str
    alert_revision: int
    subject_kind: SubjectKind
    subject: str
    verdict: LabelVerdict
    reason: str
    actor: str
    labelled_at: datetime
    config_version: str


class AlertDetail(AlertSummary):
    """One alert with what belongs to it; at most 100 members, all of them under ``/v1/campaigns/{id}/members``.

    ``rank`` is its score's among the last incidents; ``model`` names the head that moved it from there, if any.
    """

    rank: float
    model: str
    contributions: list[Contribution]
    findings: list[Finding]
    members: list[Member]
    labels: list[LabelAnswer]


def describe_alert(found: Found) -> AlertDetail:
    """Give an alert with what belongs to it as an answer."""
    return AlertDetail(
        **AlertSummary.model_validate(found.alert).model_dump(),
        # Rows that were stored before there were ranks say nothing of them.
        rank=found.alert.payload.get("rank", 0.0),
        model=found.alert.payload.get("model", ""),
        contributions=[Contribution.model_validate(row) for row in found.alert.payload["contributions"]],
        findings=[Finding.model_validate(row) for row in found.evidence],
        members=[Member.model_validate(row) for row in found.members],
        labels=[LabelAnswer.model_validate(row) for row in found.labels],
    )


class AccountAnswer(BaseModel):
    """One account: the newest alerts that name it, and their labels."""

    account: str
    alerts: list[AlertSummary]
    labels: list[LabelAnswer]


class LabelRequest(BaseModel):
    """A verdict to record; who judges is who signed in."""

    model_config = ConfigDict(extra="forbid")

    alert_id: RecordId
    verdict: Verdict
    reason: Words


class EntitlementTerms(Answer):
    """Who is entitled to what, and for how long."""

    subject_kind: Literal["account", "organization"]
    subject: str
    kind: Literal["licence", "allowlist"]
    valid_from: datetime
    valid_until: datetime
    reference: str
    owner: str
    models: list[str] | None
    daily_requests: int | None
    daily_tokens: int | None
    total_requests: int | None
    total_tokens: int | None
    grace_ms: int


class EntitlementProposalAnswer(EntitlementTerms):
    """An entitlement that was asked for; ``entitlement_id`` is what became of it, where it was granted."""

    proposal_id: str
    alert_id: str | None
    proposed_by: str
    proposed_at: datetime
    decision: Literal["approved", "rejected"] | None
    decided_by: str | None
    decided_at: datetime | None
    entitlement_id: str | None


class EntitlementAnswer(EntitlementTerms):
    """One entitlement."""

    entitlement_id: str
    created_at: datetime
    created_by: str
    revoked_at: datetime | None
    revoked_by: str | None


class EntitlementRequest(BaseModel):
    """An entitlement to ask for; it begins now unless ``valid_from`` says otherwise."""

    model_config = ConfigDict(extra="forbid")

    subject_kind: Literal["account", "organization"]
    subject: Identifier
    kind: Literal["licence", "allowlist"]
    valid_from: Moment | None = None
    valid_until: Moment
    reference: Words
    owner: Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00]*$")] = Field(
        default="", description="Who answers for it at your side."
    )
    models: list[Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00]*$")]] | None = Field(
        default=None, max_length=100, description="Left out: every model."
    )
    daily_requests: Volume | None = None
    daily_tokens: Volume | None = Field(default=None, description="Output tokens.")
    total_requests: Volume | None = None
    total_tokens: Volume | None = Field(default=None, description="Output tokens.")
    grace_seconds: int = Field(
        default=14 * 86_400, ge=0, le=90 * 86_400, description="After the end, in which it still holds."
    )


class IdentityAnswer(BaseModel):
    """Who asks, and what they may do."""

    tenant: str
    actor: str
    kind: Literal["user", "key"]
    roles: list[str]
    permissions: list[Permission]


class Readiness(BaseModel):
    """Whether each part that the API needs is there."""

    ready: bool
    checks: dict[str, Any]
