"""Decisions on the wire of the API."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads annotations at run time
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from detection.policy.decisions import SubjectKind  # noqa: TC001 - as above
from detection.policy.ladder import Action
from services.adapters.postgres.decision_rows import State  # noqa: TC001 - as above
from services.api.models import Answer, Identifier, Paging, RecordId, Words

if TYPE_CHECKING:
    from services.adapters.postgres.tables import DecisionRow

MAXIMUM_SECONDS = 90 * 86_400
DEFAULT_SECONDS = 7 * 86_400


class DecisionAnswer(Answer):
    """One decision. ``accounts`` counts the members of a campaign; it is 1 for an account, 0 where it is not known."""

    decision_id: str
    subject_kind: SubjectKind
    subject: str
    accounts: int
    action: Action
    reason_codes: list[str]
    evidence_id: str
    state: State
    dry_run: bool
    reason: str
    proposed_at: datetime
    proposed_by: str
    decided_at: datetime | None
    decided_by: str | None
    sequence: int | None
    issued_at: datetime | None
    effective_at: datetime | None
    expires_at: datetime | None

    @classmethod
    def of(cls, row: DecisionRow) -> DecisionAnswer:
        """Give a row as an answer."""
        names = [name for name in cls.model_fields if name != "accounts"]
        return cls.model_validate({name: getattr(row, name) for name in names} | {"accounts": len(row.members)})


class DecisionQuery(Paging):
    """Filters of the list of decisions."""

    state: State | None = None
    subject: RecordId | None = None


class DecisionRequest(BaseModel):
    """A decision to propose."""

    model_config = ConfigDict(extra="forbid")

    subject_kind: Literal["account", "organization"]
    subject: Identifier
    action: Action
    reason: Words
    lifetime_seconds: int = Field(
        default=DEFAULT_SECONDS, ge=60, le=MAXIMUM_SECONDS, description="Every decision ends."
    )
    dry_run: bool = Field(default=False, description="Show it and do not enforce it, whatever the configuration says.")


class KillSwitchRequest(BaseModel):
    """The kill switch, on or off."""

    model_config = ConfigDict(extra="forbid")

    engaged: bool = True
    reason: Words


class ReasonedAct(BaseModel):
    """Why; who acts is who signed in."""

    model_config = ConfigDict(extra="forbid")

    reason: Words
