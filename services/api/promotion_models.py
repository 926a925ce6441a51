"""Learned heads on the wire of the API."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import Path
from pydantic import BaseModel

from detection.ranking.head import TrainedHead
from detection.ranking.priority import LEAST_POSITIVES, weight_of
from services.api.models import Answer

if TYPE_CHECKING:
    from services.adapters.postgres.models import ModelRow

ModelName = Annotated[Literal["supervised"], Path(description="The one model that learns from labels.")]


class ModelAnswer(BaseModel):
    """One head. ``version`` is its ETag's number; ``weight`` is its say in a priority where it is live, 0 to 0.4."""

    model: str
    stage: Literal["shadow", "live", "retired"]
    version: int
    trained_on: int
    positives: int
    positives_needed: int
    weight: float
    created_at: datetime
    promoted_by: str | None
    promoted_at: datetime | None
    retired_by: str | None
    retired_at: datetime | None

    @classmethod
    def of(cls, row: ModelRow) -> ModelAnswer:
        """Give a row as an answer."""
        return cls.model_validate(
            {
                "model": row.model,
                "stage": "retired" if row.retired_at is not None else row.stage,
                "version": row.version,
                "trained_on": row.trained_on,
                "positives": row.positives,
                "positives_needed": LEAST_POSITIVES,
                "weight": round(weight_of(TrainedHead.of(row.published())), 4),
                "created_at": row.created_at,
                "promoted_by": row.promoted_by,
                "promoted_at": row.stored_at if row.stage == "live" else None,
                "retired_by": row.retired_by,
                "retired_at": row.retired_at,
            }
        )


class ModelsAnswer(BaseModel):
    """Every head, by model, the live one first."""

    items: list[ModelAnswer]


class OrderPrecision(Answer):
    """The confirmed share of what an order showed, with its 95 % Wilson interval; ``share`` is null where nothing was.

    Of each ten judged alerts, in the order of their verdicts, an order shows its best five.
    """

    order: Literal["score", "live", "shadow"]
    judged: int
    shown: int
    confirmed: int
    share: float | None
    low: float
    high: float


class ComparisonAnswer(Answer):
    """Orders compared on judged alerts, each before its verdict was learned.

    ``since_live`` is of verdicts after those that the live head has learned. ``labels`` is how many were looked at: the
    newest 500.
    """

    labels: int
    overall: list[OrderPrecision]
    since_live: list[OrderPrecision]
