"""Who is told of alerts, and what has been told them: subscriptions and their deliveries."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from services.adapters.postgres.tables import Base


class WebhookRow(Base):
    """An address that is told of alerts. Its secrets are derived from the master key, its id and the generation."""

    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint("template IN ('alert', 'ocsf', 'slack', 'pagerduty')", name="template"),
        CheckConstraint("minimum_severity IN ('low', 'medium', 'high', 'critical')", name="minimum_severity"),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    webhook_id: Mapped[str] = mapped_column(primary_key=True)
    url: Mapped[str]
    template: Mapped[str]
    minimum_severity: Mapped[str]
    routing_key: Mapped[str]
    generation: Mapped[int]
    previous_until: Mapped[datetime | None]  # Until then the generation before signs too.
    active: Mapped[bool]
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class DeliveryRow(Base):
    """One event for one webhook: pending until it arrives or is given up. A lease moves ``due_at`` ahead."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "webhook_id"], ["webhooks.tenant", "webhooks.webhook_id"], ondelete="CASCADE"),
        CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
        UniqueConstraint("tenant", "webhook_id", "event_id"),
        Index("ix_webhook_deliveries_due", "tenant", "due_at", postgresql_where=text("state = 'pending'")),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    delivery_id: Mapped[str] = mapped_column(primary_key=True)
    webhook_id: Mapped[str]
    event_id: Mapped[str]
    body: Mapped[bytes]
    state: Mapped[str]
    attempts: Mapped[int]
    due_at: Mapped[datetime]
    created_at: Mapped[datetime]
    last_outcome: Mapped[str | None]  # A status or an error's class.
