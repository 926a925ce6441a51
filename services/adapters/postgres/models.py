"""Published heads as the database knows them: the newest in shadow, the one that is live, and who promoted it.

The shelf of the alert sink stores what the learning job publishes in shadow. Promotion is an act: the row that is live,
its audit row and the record for Kafka in one transaction.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import CheckConstraint, exists, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from detection.ranking.head import TrainedHead
from detection.ranking.lessons import JUDGED
from detection.ranking.priority import LEAST_POSITIVES
from schemas.headers import text_headers
from schemas.model_version import ModelVersion, model_key
from schemas.topics import MODELS
from services.adapters.postgres import audit, outbox
from services.adapters.postgres.lifecycle.acts import LostRaceError
from services.adapters.postgres.moments import read_moment, to_unix_ms
from services.adapters.postgres.tables import Base, LabelRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

SOURCE: Final = "stillwatch/models"
_TURN: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('model/' || :tenant || '/' || :model, 0))")
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(ModelVersion)


class ModelRow(Base):
    """One head at one stage. ``record`` is the exact bytes on the topic; a retired head keeps the live one's row."""

    __tablename__ = "models"
    __table_args__ = (CheckConstraint("stage IN ('shadow', 'live')", name="stage"),)

    tenant: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    trained_on: Mapped[int]
    positives: Mapped[int]
    created_at: Mapped[datetime]
    stored_at: Mapped[datetime]
    record: Mapped[bytes]
    promoted_by: Mapped[str | None]
    retired_at: Mapped[datetime | None]
    retired_by: Mapped[str | None]

    def published(self) -> ModelVersion:
        """Read the record."""
        return _decoder.decode(self.record)


class UnknownModelError(StillwatchError):
    """There is no such model at this stage."""

    hint = "`stillwatch models list` shows those that there are."


class NotReadyError(StillwatchError):
    """The head has learned too little to have a say, or is live already."""

    hint = f"It needs {LEAST_POSITIVES} confirmed alerts, and to be another version than the one that is live."


class OwnModelError(StillwatchError):
    """Whoever gave one of its verdicts has a part in the head, and never promotes it."""

    hint = "Ask another person with the role publisher."


def store_shadows(connection: Connection, tenant: str, versions: Sequence[ModelVersion], now: datetime) -> None:
    """Keep the newest shadow of each model, in the order given."""
    for version in versions:
        values = {
            "version": version.version,
            "trained_on": version.trained_on,
            "positives": version.positives,
            "created_at": read_moment(version.created_at),
            "stored_at": now,
            "record": _encoder.encode(version),
        }
        row = insert(ModelRow).values(tenant=tenant, model=version.model, stage="shadow", **values)
        connection.execute(row.on_conflict_do_update(index_elements=["tenant", "model", "stage"], set_=values))


def list_models(session: Session, tenant: str) -> Sequence[ModelRow]:
    """Give every head, by model, the live one first."""
    rows = select(ModelRow).where(ModelRow.tenant == tenant)
    return session.scalars(rows.order_by(ModelRow.model, ModelRow.stage)).all()


def find_model(session: Session, tenant: str, model: str, stage: str) -> ModelRow | None:
    """Give one head."""
    return session.get(ModelRow, (tenant, model, stage))


def promote(
    session: Session,
    tenant: str,
    model: str,
    *,
    actor: str,
    now: datetime,
    expected_versions: frozenset[int] | None = None,
) -> ModelRow:
    """Make the head in shadow the live one, in the open transaction; it goes to the topic ``models``.

    ``expected_versions`` holds the version that was looked at; None takes any. Raises UnknownModelError, LostRaceError,
    NotReadyError or OwnModelError.
    """
    session.execute(_TURN, {"tenant": tenant, "model": model})
    shadow = session.get(ModelRow, (tenant, model, "shadow"), with_for_update=True)
    if shadow is None:
        raise UnknownModelError(f"there is no {model} in shadow")
    if expected_versions is not None and shadow.version not in expected_versions:
        raise LostRaceError(f"{model} has learned on: the shadow is version {shadow.version} now")
    live = session.get(ModelRow, (tenant, model, "live"))
    standing = live if live is not None and live.retired_at is None else None
    if shadow.positives < LEAST_POSITIVES or (standing is not None and standing.version == shadow.version):
        raise NotReadyError(f"{model} {shadow.version} cannot be promoted")
    if _has_judged(session, tenant, actor):
        raise OwnModelError(f"{actor} has given verdicts that {model} learned from")
    before = None if standing is None else describe(standing)
    promoted = msgspec.structs.replace(shadow.published(), stage="live")
    TrainedHead.of(promoted)  # What no job could use is never sent to one; the shelf has read it so already.
    if live is None:
        live = ModelRow(tenant=tenant, model=model, stage="live")
        session.add(live)
    live.version, live.trained_on, live.positives = shadow.version, shadow.trained_on, shadow.positives
    live.created_at, live.stored_at, live.record = shadow.created_at, now, _encoder.encode(promoted)
    live.promoted_by, live.retired_at, live.retired_by = actor, None, None
    session.flush()
    _tell(session, live, promoted, "model.promoted", actor, before, now)
    return live


def retire(
    session: Session,
    tenant: str,
    model: str,
    *,
    actor: str,
    now: datetime,
    expected_versions: frozenset[int] | None = None,
) -> ModelRow:
    """Take the live head's say away: alerts are ordered by their scores alone. Once is enough, again changes nothing.

    Raises UnknownModelError or LostRaceError.
    """
    session.execute(_TURN, {"tenant": tenant, "model": model})
    live = session.get(ModelRow, (tenant, model, "live"), with_for_update=True)
    if live is None:
        raise UnknownModelError(f"there is no {model} that is live")
    if expected_versions is not None and live.version not in expected_versions:
        raise LostRaceError(f"version {live.version} of {model} is live now")
    if live.retired_at is not None:
        return live
    before = describe(live)
    retired = msgspec.structs.replace(live.published(), stage="retired")
    live.retired_at, live.retired_by, live.record = now, actor, _encoder.encode(retired)
    session.flush()
    _tell(session, live, retired, "model.retired", actor, before, now)
    return live


def describe(row: ModelRow) -> dict[str, object]:
    """Give what the audit says of a head."""
    stage = "retired" if row.retired_at is not None else row.stage
    return {"version": row.version, "stage": stage, "trained_on": row.trained_on, "positives": row.positives}


def _has_judged(session: Session, tenant: str, actor: str) -> bool:
    mine = exists().where(LabelRow.tenant == tenant, LabelRow.actor == actor, LabelRow.verdict.in_(sorted(JUDGED)))
    return bool(session.scalar(select(mine)))


def _tell(
    session: Session,
    row: ModelRow,
    record: ModelVersion,
    action: str,
    actor: str,
    before: dict[str, object] | None,
    now: datetime,
) -> None:
    connection = session.connection()
    outbox.append(
        connection,
        tenant=row.tenant,
        topic=MODELS.name,
        key=model_key(row.model, "live").decode(),
        value=row.record,
        headers=text_headers(record, SOURCE, to_unix_ms(now)),
        at=now,
    )
    audit.append(
        connection,
        tenant=row.tenant,
        at=now,
        actor=actor,
        action=action,
        subject=f"model/{row.model}",
        before=before,
        after=describe(row),
    )
