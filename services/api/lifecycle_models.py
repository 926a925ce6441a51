"""What acts, bulk runs, reviews and quality look like over the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from detection.outcomes import AlertKind, Lane, Severity, SubjectKind
from schemas.label import Verdict
from services.adapters.postgres.alerts import State
from services.adapters.postgres.lifecycle.bulk import CAP
from services.adapters.postgres.lifecycle.standing import Act, Reason
from services.api.models import AlertSummary, Answer, Finding, Identifier, Member, Moment

Short = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.:@+ -]{0,100}$")]


class Asked(BaseModel):
    """A body; a field that the API does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class NextRequest(Asked):
    """Which alerts to choose from; nothing asks for all that wait."""

    severity: Severity | None = None
    kind: AlertKind | None = None
    lane: Lane | None = None
    subject_kind: SubjectKind | None = None
    detector: Short | None = None
    family: Short | None = None
    tag: Short | None = None


class MatchRequest(NextRequest):
    """Which alerts a bulk act touches."""

    state: State | None = None
    account: Identifier | None = None
    customer: Identifier | None = None
    assignee: Short | None = None
    since: Moment | None = None
    until: Moment | None = None


class ActAnswer(Answer):
    """One act, with the alert's standing before and after."""

    act_id: str
    alert_id: str
    kind: str
    actor: str
    at: datetime
    before: dict[str, Any]
    after: dict[str, Any]
    bulk_id: str | None
    undone_at: datetime | None
    undone_by: str | None


class NoteAnswer(Answer):
    """One note."""

    note_id: str
    at: datetime
    actor: str
    body: str
    withdrawn_at: datetime | None


class SnoozeAnswer(Answer):
    """One snooze of a subject and detector."""

    snooze_id: str
    subject: str
    detector: str
    at: datetime
    until: datetime
    actor: str
    reason: str
    ended_at: datetime | None
    ended_by: str | None


class HistoryAnswer(BaseModel):
    """What people did with an alert: acts newest first, notes oldest first."""

    acts: list[ActAnswer]
    notes: list[NoteAnswer]
    snoozes: list[SnoozeAnswer]


class DoneAnswer(BaseModel):
    """What an act made. ``act_id`` undoes it."""

    act_id: str
    label_id: str | None
    alert: AlertSummary


class NextAnswer(BaseModel):
    """The alert that is yours now; null where none waits."""

    alert: AlertSummary | None
    act_id: str | None


class PreviewAnswer(BaseModel):
    """How many alerts match, how many one bulk act may touch, and the first of them by priority."""

    count: int
    cap: int = CAP
    alert_ids: list[str]


class BulkRequest(Asked):
    """An act on every alert that matches. ``expected`` is the preview's count: another count now is refused."""

    match: MatchRequest
    act: Act
    expected: Annotated[int, Field(ge=0, le=CAP)]


class BulkAnswer(Answer):
    """A bulk act and how far it has come; ``failures`` tells for each alert why it was not done."""

    bulk_id: str
    actor: str
    at: datetime
    kind: str
    total: int
    done: int
    failures: dict[str, str]
    finished_at: datetime | None
    undone_at: datetime | None


class BlindReview(BaseModel):
    """An alert to judge again, without its score, its severity or the first verdict."""

    review_id: str
    alert_id: str
    kind: AlertKind
    subject_kind: SubjectKind
    subject: str
    event_time: datetime
    requests: int
    member_count: int
    contributions: list[dict[str, Any]]
    findings: list[Finding]
    members: list[Member]


class ReviewRequest(Asked):
    """A second verdict."""

    verdict: Verdict
    reason: Reason


class ReviewAnswer(Answer):
    """A review with both verdicts, once both are given."""

    review_id: str
    alert_id: str
    label_id: str
    first_actor: str
    first_verdict: Verdict
    reviewer: str | None
    verdict: Verdict | None
    reason: str | None
    reviewed_at: datetime | None
    settled_label_id: str | None


class PrecisionAnswer(Answer):
    """A detector's share of confirmed verdicts, with its 95 % Wilson interval."""

    detector: str
    judged: int
    confirmed: int
    share: float
    low: float
    high: float


class QualityAnswer(Answer):
    """How good verdicts and detectors are; null where there is nothing to measure."""

    precision: list[PrecisionAnswer]
    labels: int
    reviews: int
    agreement: float | None
    kappa: float | None
    latency_p50_seconds: float | None
    latency_p90_seconds: float | None
