"""What people do with alerts: acts and their undoing, notes, snoozes, reviews, bulk runs, answers already given."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from services.adapters.postgres.tables import Base

_ALERT = (["tenant", "alert_id"], ["alerts.tenant", "alerts.alert_id"])


class ActRow(Base):
    """One act on one alert, with the alert's standing before and after, so that it can be undone.

    ``previous`` is the act that was the alert's last one before this one. ``made`` names rows that the act added.
    """

    __tablename__ = "acts"
    __table_args__ = (
        ForeignKeyConstraint(*_ALERT),
        Index(None, "tenant", "alert_id", "at"),
        Index(None, "tenant", "bulk_id", postgresql_where=text("bulk_id IS NOT NULL")),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    act_id: Mapped[str] = mapped_column(primary_key=True)
    alert_id: Mapped[str]
    bulk_id: Mapped[str | None]
    previous: Mapped[str | None]
    kind: Mapped[str]
    actor: Mapped[str]
    at: Mapped[datetime]
    before: Mapped[dict[str, Any]]
    after: Mapped[dict[str, Any]]
    made: Mapped[dict[str, Any]]
    undone_at: Mapped[datetime | None]
    undone_by: Mapped[str | None]


class NoteRow(Base):
    """A comment. Never changed and never erased; one that was undone says so."""

    __tablename__ = "notes"
    __table_args__ = (ForeignKeyConstraint(*_ALERT), Index(None, "tenant", "alert_id", "at"))

    tenant: Mapped[str] = mapped_column(primary_key=True)
    note_id: Mapped[str] = mapped_column(primary_key=True)
    alert_id: Mapped[str]
    at: Mapped[datetime]
    actor: Mapped[str]
    body: Mapped[str]
    withdrawn_at: Mapped[datetime | None]


class SnoozeRow(Base):
    """A subject and a detector that are not to be shown before ``until``. Ended early where ``ended_at`` says so."""

    __tablename__ = "snoozes"
    __table_args__ = (
        ForeignKeyConstraint(*_ALERT),
        CheckConstraint("until > at", name="period"),
        Index(None, "tenant", "subject", "detector"),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    snooze_id: Mapped[str] = mapped_column(primary_key=True)
    alert_id: Mapped[str]  # Where it was asked for.
    subject: Mapped[str]
    detector: Mapped[str]
    at: Mapped[datetime]
    until: Mapped[datetime]
    actor: Mapped[str]
    reason: Mapped[str]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None]


class ReviewRow(Base):
    """A second verdict, given without sight of the first one or of the score. Filled once."""

    __tablename__ = "reviews"
    __table_args__ = (
        ForeignKeyConstraint(*_ALERT),
        Index(None, "tenant", "alert_id"),
        Index(None, "tenant", "created_at", "review_id"),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    review_id: Mapped[str] = mapped_column(primary_key=True)
    alert_id: Mapped[str]
    label_id: Mapped[str]  # The first verdict.
    first_actor: Mapped[str]
    first_verdict: Mapped[str]
    created_at: Mapped[datetime]
    reviewer: Mapped[str | None]
    verdict: Mapped[str | None]
    reason: Mapped[str | None]
    reviewed_at: Mapped[datetime | None]
    settled_label_id: Mapped[str | None]  # Of a lead, where the two disagreed.


class BulkRow(Base):
    """One act on many alerts, and how far it has come."""

    __tablename__ = "bulks"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    bulk_id: Mapped[str] = mapped_column(primary_key=True)
    actor: Mapped[str]
    at: Mapped[datetime]
    kind: Mapped[str]
    total: Mapped[int]
    done: Mapped[int]
    failures: Mapped[dict[str, Any]]  # Alert to reason.
    finished_at: Mapped[datetime | None]
    undone_at: Mapped[datetime | None]


class AnsweredRow(Base):
    """The answer that an idempotency key has had."""

    __tablename__ = "answered"
    __table_args__ = (Index(None, "tenant", "at"),)

    tenant: Mapped[str] = mapped_column(primary_key=True)
    actor: Mapped[str] = mapped_column(primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    answer: Mapped[dict[str, Any] | None]
    at: Mapped[datetime]


class AuditHeadRow(Base):
    """The end of a tenant's audit chain. Every writer holds it until the commit, so the chain has no fork."""

    __tablename__ = "audit_heads"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int]
    hash: Mapped[bytes]
