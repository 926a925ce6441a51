"""What was learned, on the wire of the API: the head that orders alerts, and the bars that hold some back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import Path
from pydantic import BaseModel

from detection.ranking.bars import LANES, MOST_BAR, Bars
from detection.ranking.head import TrainedHead
from detection.ranking.priority import LEAST_POSITIVES, weight_of
from schemas.model_version import BARS, SUPERVISED
from services.api.models import Answer

if TYPE_CHECKING:
    from schemas.model_version import ModelVersion
    from services.adapters.postgres.models import ModelRow

HeadName = Annotated[Literal["supervised"], Path(description="The model that orders alerts.")]
ModelName = Annotated[
    Literal["supervised", "bars"], Path(description="The model that orders alerts, or the bars that hold some back.")
]


class DriftAnswer(BaseModel):
    """A change that ADWIN found in a lane's scores: when its hop ended, and their mean certainty before and after."""

    at: datetime
    before: float
    after: float


class BarAnswer(BaseModel):
    """What one lane's threshold is multiplied with, and what asked for it.

    ``budget`` and ``verdicts`` are the bars that either asks for, ``most`` the one that confirmed alerts do not let it
    pass. ``hourly`` incidents stand above the threshold in an hour, ``raised`` above the bar. ``judged`` and
    ``confirmed`` count verdicts between the threshold and the highest bar.
    """

    lane: str
    bar: float
    budget: float
    verdicts: float
    most: float
    hourly: float
    raised: float
    judged: int
    confirmed: int
    drift: DriftAnswer | None

    @classmethod
    def of(cls, version: ModelVersion) -> list[BarAnswer]:
        """Give the lanes of one version."""
        bars, told = Bars.of(version), version.parameters
        return [
            cls(
                lane=lane,
                bar=bars.of_lane(lane),
                budget=told.get(f"budget.{lane}", 1.0),
                verdicts=told.get(f"verdicts.{lane}", 1.0),
                most=told.get(f"most.{lane}", MOST_BAR),
                hourly=told.get(f"hourly.{lane}", 0.0),
                raised=told.get(f"raised.{lane}", 0.0),
                judged=int(told.get(f"judged.{lane}", 0)),
                confirmed=int(told.get(f"confirmed.{lane}", 0)),
                drift=_drift(told, lane),
            )
            for lane in LANES
        ]


def _drift(told: dict[str, float], lane: str) -> DriftAnswer | None:
    ended = told.get(f"drift.{lane}")
    if ended is None:
        return None
    before, after = told.get(f"drift_from.{lane}", 0.0), told.get(f"drift_to.{lane}", 0.0)
    return DriftAnswer(at=datetime.fromtimestamp(ended, UTC), before=before, after=after)


class ModelAnswer(BaseModel):
    """One version of a model. ``version`` is its ETag's number.

    ``weight`` is a head's say in a priority where it is live, 0 to 0.4, and 0 for bars. ``bars`` is empty for a head,
    ``budget`` (new incidents an hour) null. ``previous`` is the version that an undo puts back; null: none was live.
    """

    model: str
    stage: Literal["shadow", "live", "retired"]
    version: int
    trained_on: int
    positives: int
    positives_needed: int
    weight: float
    bars: list[BarAnswer]
    budget: float | None
    created_at: datetime
    promoted_by: str | None
    promoted_at: datetime | None
    retired_by: str | None
    retired_at: datetime | None
    previous: int | None

    @classmethod
    def of(cls, row: ModelRow) -> ModelAnswer:
        """Give a row as an answer."""
        version = row.published()
        head = TrainedHead.of(version) if row.model == SUPERVISED else None
        return cls.model_validate(
            {
                "model": row.model,
                "stage": "retired" if row.retired_at is not None else row.stage,
                "version": row.version,
                "trained_on": row.trained_on,
                "positives": row.positives,
                "positives_needed": LEAST_POSITIVES if head is not None else 0,
                "weight": round(weight_of(head), 4),
                "bars": BarAnswer.of(version) if row.model == BARS else [],
                "budget": version.parameters.get("budget") if row.model == BARS else None,
                "created_at": row.created_at,
                "promoted_by": row.promoted_by,
                "promoted_at": row.stored_at if row.stage == "live" else None,
                "retired_by": row.retired_by,
                "retired_at": row.retired_at,
                "previous": row.before(),
            }
        )


class ModelsAnswer(BaseModel):
    """Every version, by model, the live one first."""

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
