"""Trials: a candidate configuration beside the running one on the same retained traffic, and what came of it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import CheckConstraint, Index, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from services.adapters.postgres import audit
from services.adapters.postgres.tables import Base
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

SHOWN: Final = 50


class TrialRow(Base):
    """One trial. ``config`` is the whole candidate; ``result`` holds both runs' alerts and counts once it is done."""

    __tablename__ = "trials"
    __table_args__ = (
        CheckConstraint("state IN ('running', 'done', 'failed')", name="state"),
        Index(None, "tenant", "at", "trial_id"),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    trial_id: Mapped[str] = mapped_column(primary_key=True)
    actor: Mapped[str]
    at: Mapped[datetime]
    since: Mapped[datetime]
    config: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(server_default=text("'running'"))
    progress: Mapped[float] = mapped_column(server_default=text("0"))
    told: Mapped[str] = mapped_column(server_default=text("''"))  # Why it failed, or what it is doing.
    result: Mapped[dict[str, Any] | None]
    approved_at: Mapped[datetime | None]
    approved_by: Mapped[str | None]


class UnknownTrialError(StillwatchError):
    """There is no such trial."""

    hint = "The page of trials lists those that there are."


class OwnCandidateError(StillwatchError):
    """The author of a configuration is never its publisher, and only a finished trial can be approved."""

    hint = "Ask another person with the role publisher."


def begin(session: Session, tenant: str, *, actor: str, config: dict[str, Any], since: datetime, now: datetime) -> str:
    """Add a trial that is about to run; gives its id."""
    trial_id = uuid.uuid4().hex
    session.add(TrialRow(tenant=tenant, trial_id=trial_id, actor=actor, at=now, since=since, config=config))
    session.flush()
    audit.append(
        session.connection(),
        tenant=tenant,
        at=now,
        actor=actor,
        action="trial.begun",
        subject=f"trial/{trial_id}",
        after={"version": config.get("version")},
    )
    return trial_id


def find(session: Session, tenant: str, trial_id: str) -> TrialRow:
    """Give one trial; raises UnknownTrialError."""
    row = session.get(TrialRow, (tenant, trial_id))
    if row is None:
        raise UnknownTrialError(f"there is no trial {trial_id}")
    return row


def newest(session: Session, tenant: str) -> Sequence[TrialRow]:
    """Give the newest trials."""
    rows = select(TrialRow).where(TrialRow.tenant == tenant).order_by(TrialRow.at.desc(), TrialRow.trial_id.desc())
    return session.scalars(rows.limit(SHOWN)).all()


def note(session: Session, tenant: str, trial_id: str, **changes: Any) -> None:
    """Write how far a trial has come, or how it ended."""
    session.execute(update(TrialRow).where(TrialRow.tenant == tenant, TrialRow.trial_id == trial_id).values(**changes))


def approve(session: Session, tenant: str, trial_id: str, *, actor: str, now: datetime) -> TrialRow:
    """Note that a second person takes the candidate; raises UnknownTrialError or OwnCandidateError."""
    row = session.scalars(
        select(TrialRow).where(TrialRow.tenant == tenant, TrialRow.trial_id == trial_id).with_for_update()
    ).one_or_none()
    if row is None:
        raise UnknownTrialError(f"there is no trial {trial_id}")
    if row.actor == actor or row.state != "done":
        raise OwnCandidateError(f"{actor} cannot approve trial {trial_id}")
    if row.approved_at is None:
        row.approved_at, row.approved_by = now, actor
        session.flush()
        audit.append(
            session.connection(),
            tenant=tenant,
            at=now,
            actor=actor,
            action="trial.approved",
            subject=f"trial/{trial_id}",
            after={"version": row.config.get("version"), "author": row.actor},
        )
    return row
