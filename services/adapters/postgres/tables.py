"""Every table of the database, as typed SQLAlchemy models. The migrations make them; ``alembic check`` compares.

Every row names its tenant, and every key starts with it, so that two tenants in one database never meet. ``evidence``,
``alert_revisions`` and ``audit`` are partitioned by month: rows leave by dropping a partition, never by a DELETE.
Rows of ``audit`` are never changed: triggers refuse it, for the owner too.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING: dict[str, str] = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
STATES = ("open", "claimed", "labelled", "snoozed", "closed", "reopened")
_OPEN = "state IN ('open', 'claimed')"
FACETED = ("tenant", "state", "severity", "kind", "lane", "subject_kind", "detector", "family", "assignee")
_QUEUE = "state IN ('open', 'claimed', 'reopened')"


class Base(DeclarativeBase):
    """Columns: text without a length, 64-bit integers, doubles, and moments with a zone."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        int: BigInteger,
        float: Double,
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
    }


class AlertRow(Base):
    """The newest revision of one alert, and what analysts made of it.

    ``record`` is the exact bytes of that revision. ``payload`` is the same without its members, for queries; they
    stand in ``campaign_members``. ``version`` counts every change of the row and is its ETag.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'claimed', 'labelled', 'snoozed', 'closed', 'reopened')", name="state"),
        CheckConstraint("subject_kind IN ('account', 'campaign')", name="subject_kind"),
        Index(None, "tenant", "event_time", "alert_id"),
        Index(None, "tenant", "subject"),
        Index("ix_alerts_queue", "tenant", "event_time", "alert_id", postgresql_where=text(_OPEN)),
        Index("ix_alerts_every_priority", "tenant", "priority", "alert_id"),
        Index("ix_alerts_facets", *FACETED),
        Index("ix_alerts_organisation", "tenant", "organisation", "priority", "alert_id"),
        # Counts organisations of any view from the index alone.
        Index("ix_alerts_organisation_facets", "tenant", "organisation", postgresql_include=FACETED[1:]),
        Index("ix_alerts_priority", "tenant", "priority", "alert_id", postgresql_where=text(_QUEUE)),
        Index("ix_alerts_due", "tenant", "lease_until", postgresql_where=text("state = 'claimed'")),
        Index("ix_alerts_waking", "tenant", "snoozed_until", postgresql_where=text("state = 'snoozed'")),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    alert_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]
    version: Mapped[int] = mapped_column(server_default=text("1"))
    kind: Mapped[str]
    lane: Mapped[str]
    subject_kind: Mapped[str]
    subject: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'open'"))
    severity: Mapped[str]
    score: Mapped[float]
    confidence: Mapped[float]
    title: Mapped[str]
    event_time: Mapped[datetime]
    updated_time: Mapped[datetime]
    stored_at: Mapped[datetime]
    requests: Mapped[int]
    member_count: Mapped[int]
    config_version: Mapped[str]
    organisation: Mapped[str] = mapped_column(server_default=text("''"))  # The one with most requests.
    record: Mapped[bytes]
    payload: Mapped[dict[str, Any]]
    detector: Mapped[str] = mapped_column(server_default=text("''"))  # Of the strongest finding, as the family.
    family: Mapped[str] = mapped_column(server_default=text("''"))
    priority: Mapped[float] = mapped_column(server_default=text("0"))  # Severity as 1..4, plus the record's own.
    # What people did. The sink leaves these alone, except that new evidence may reopen.
    assignee: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    snoozed_until: Mapped[datetime | None]
    reopened_revision: Mapped[int | None]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text()), server_default=text("'{}'"))
    last_act: Mapped[str | None]
    label_id: Mapped[str | None]  # The verdict that stands.
    # Every account that it names is entitled until then: it is shown as such, and is not in the queue.
    entitled_until: Mapped[datetime | None]


class AlertRevisionRow(Base):
    """Every revision's exact bytes, by month of the alert's event time."""

    __tablename__ = "alert_revisions"
    __table_args__ = ({"postgresql_partition_by": "RANGE (event_time)"},)

    tenant: Mapped[str] = mapped_column(primary_key=True)
    alert_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_time: Mapped[datetime] = mapped_column(primary_key=True)
    updated_time: Mapped[datetime]
    stored_at: Mapped[datetime]
    record: Mapped[bytes]


class EvidenceRow(Base):
    """One finding that an alert quotes, by month of the alert's event time; ``hop`` tells when it was made."""

    __tablename__ = "evidence"
    __table_args__ = ({"postgresql_partition_by": "RANGE (event_time)"},)

    tenant: Mapped[str] = mapped_column(primary_key=True)
    alert_id: Mapped[str] = mapped_column(primary_key=True)
    finding_id: Mapped[str] = mapped_column(primary_key=True)
    event_time: Mapped[datetime] = mapped_column(primary_key=True)
    revision: Mapped[int]  # The first one that quotes it.
    lane: Mapped[str]
    detector: Mapped[str]
    family: Mapped[str]
    subject: Mapped[str]
    hop: Mapped[int]
    score: Mapped[float]
    customers: Mapped[int]
    requests: Mapped[int]
    stored_at: Mapped[datetime]


class MemberRow(Base):
    """One account that the newest revision names. A lead with a strength in 0..1, never a verdict."""

    __tablename__ = "campaign_members"
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "alert_id"], ["alerts.tenant", "alerts.alert_id"], ondelete="CASCADE"),
        Index(None, "tenant", "account"),
        Index(None, "tenant", "customer"),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    alert_id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    customer: Mapped[str]
    requests: Mapped[int]
    strength: Mapped[float]
    since: Mapped[datetime]
    revision: Mapped[int]


class LabelRow(Base):
    """One verdict. Rows are only added; the newest of an alert stands."""

    __tablename__ = "labels"
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "alert_id"], ["alerts.tenant", "alerts.alert_id"]),
        CheckConstraint(
            "verdict IN ('true_positive', 'false_positive', 'benign', 'insufficient_data', 'withdrawn')", name="verdict"
        ),
        UniqueConstraint("tenant", "idempotency_key"),
        Index(None, "tenant", "alert_id", "labelled_at"),
        Index(None, "tenant", "labelled_at", "label_id"),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    label_id: Mapped[str] = mapped_column(primary_key=True)
    alert_id: Mapped[str]
    alert_revision: Mapped[int]
    subject_kind: Mapped[str]
    subject: Mapped[str]
    verdict: Mapped[str]
    reason: Mapped[str]
    actor: Mapped[str]
    labelled_at: Mapped[datetime]
    config_version: Mapped[str]
    idempotency_key: Mapped[str | None]
    request_digest: Mapped[str | None]  # Of the request that used the key: another request under it is refused.


class EntitlementRow(Base):
    """A licence to distil or an allowlist entry, with who gave it and who took it back."""

    __tablename__ = "entitlements"
    __table_args__ = (
        CheckConstraint("subject_kind IN ('account', 'organization')", name="subject_kind"),
        CheckConstraint("kind IN ('licence', 'allowlist')", name="kind"),
        CheckConstraint("valid_until > valid_from", name="period"),
        Index(None, "tenant", "subject"),
        Index(None, "tenant", "created_at", "entitlement_id"),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    entitlement_id: Mapped[str] = mapped_column(primary_key=True)
    subject_kind: Mapped[str]
    subject: Mapped[str]
    kind: Mapped[str]
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime]
    reference: Mapped[str]  # The contract or the ticket, in the operator's own words.
    owner: Mapped[str] = mapped_column(server_default=text("''"))  # Who answers for it at the operator's.
    models: Mapped[list[Any] | None]  # None: every model.
    daily_requests: Mapped[int | None]
    daily_tokens: Mapped[int | None]  # Output tokens; what is distilled is the answer.
    total_requests: Mapped[int | None]
    total_tokens: Mapped[int | None]
    grace_ms: Mapped[int] = mapped_column(server_default=text("0"))  # After the end, in which it still holds.
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None]


class DecisionRow(Base):
    """One decision from proposal to record. ``record`` is the exact bytes that gateways have; a newer one supersedes.

    ``sequence`` is given in the order of issue by one writer at a time, so that a reader who has seen one has seen all
    before it. ``members`` holds pairs of account and customer.
    """

    __tablename__ = "decisions"
    __table_args__ = (
        CheckConstraint("subject_kind IN ('account', 'campaign', 'organization', 'tenant')", name="subject_kind"),
        CheckConstraint("action IN ('allow', 'observe', 'throttle', 'trim', 'challenge', 'block')", name="action"),
        CheckConstraint("state IN ('proposed', 'approved', 'issued', 'rejected', 'superseded')", name="state"),
        CheckConstraint("state <> 'issued' OR record IS NOT NULL", name="issued"),
        UniqueConstraint("tenant", "sequence"),
        Index(None, "tenant", "subject_kind", "subject"),
        Index(None, "tenant", "proposed_at", "decision_id"),
        Index("ix_decisions_approved", "tenant", "decided_at", postgresql_where=text("state = 'approved'")),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    decision_id: Mapped[str] = mapped_column(primary_key=True)
    subject_kind: Mapped[str]
    subject: Mapped[str]
    members: Mapped[list[Any]]
    action: Mapped[str]
    reason_codes: Mapped[list[Any]]
    evidence_id: Mapped[str]
    digest: Mapped[str]  # Of the action and the members: what says the same is not said again.
    state: Mapped[str]
    dry_run: Mapped[bool]
    lifetime_ms: Mapped[int]
    proposed_at: Mapped[datetime]
    proposed_by: Mapped[str]
    reason: Mapped[str]  # A person's words; "" from the policy.
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    by_person: Mapped[bool]  # A person has asked for it, approved it or judged its alert.
    sequence: Mapped[int | None]
    issued_at: Mapped[datetime | None]
    standing_since: Mapped[datetime | None]  # Since when its subject stands on this rung.
    effective_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    record: Mapped[bytes | None]


class EntitlementUsageRow(Base):
    """One day (ISO 8601, UTC) of one entitlement, summed from account windows."""

    __tablename__ = "entitlement_usage"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    entitlement_id: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[str] = mapped_column(primary_key=True)
    requests: Mapped[int]
    output_tokens: Mapped[int]


class EntitlementNoticeRow(Base):
    """A notice that has been told; each name once for each entitlement."""

    __tablename__ = "entitlement_notices"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    entitlement_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    told_at: Mapped[datetime]


class OutboxRow(Base):
    """A record that a topic will have. Written in the transaction of what it tells, relayed at least once."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_pending", "tenant", "topic", "key", "id", postgresql_where=text("relayed_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    tenant: Mapped[str]
    topic: Mapped[str]
    key: Mapped[str]
    value: Mapped[bytes]
    headers: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    relayed_at: Mapped[datetime | None]


class AuditRow(Base):
    """One act: who did what to what, and what changed. Append-only."""

    __tablename__ = "audit"
    __table_args__ = (
        Index(None, "tenant", "subject", "at"),
        Index(None, "tenant", "seq"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]  # For example "alert/0123456789abcdef".
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    # The chain, by tenant: the row's number, the hash of the row before, and its own. None in rows before the chain.
    seq: Mapped[int | None]
    previous_hash: Mapped[bytes | None]
    hash: Mapped[bytes | None]


class SinkProgressRow(Base):
    """How far a sink has come, written in its transactions; ``beat_at`` moves while the topic is silent too."""

    __tablename__ = "sink_progress"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    next_offset: Mapped[int]
    beat_at: Mapped[datetime]
