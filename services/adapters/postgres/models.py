"""Published models as the database knows them: the newest in shadow, the one that is live, and who promoted it.

There are two: the head, which orders alerts, and the bars, which thresholds are multiplied with. The shelf of the alert
sink stores what the learning job publishes in shadow. Promotion is an act: the row that is live, its audit row and the
record for Kafka in one transaction; and it can be undone.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import CheckConstraint, exists, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from detection.ranking.bars import LANES, Bars
from detection.ranking.head import TrainedHead
from detection.ranking.lessons import JUDGED
from detection.ranking.priority import LEAST_POSITIVES
from schemas.headers import text_headers
from schemas.model_version import BARS, SUPERVISED, ModelVersion, model_key
from schemas.topics import MODELS
from services.adapters.postgres import audit, outbox
from services.adapters.postgres.lifecycle.acts import LostRaceError
from services.adapters.postgres.moments import read_moment, to_unix_ms
from services.adapters.postgres.tables import Base, LabelRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

SOURCE: Final = "stillwatch/models"
_TURN: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('model/' || :tenant || '/' || :model, 0))")
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(ModelVersion)


class ModelRow(Base):
    """One model at one stage. ``record`` is the exact bytes on the topic; a retired one keeps the live one's row.

    ``previous`` is the record that was live until this one took its place; None where there was none.
    """

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
    previous: Mapped[bytes | None]

    def published(self) -> ModelVersion:
        """Read the record."""
        return _decoder.decode(self.record)

    def before(self) -> int | None:
        """Give the version that an undo would put back; None where nothing would be live."""
        if self.retired_at is not None:
            return self.version
        return None if self.previous is None else _decoder.decode(self.previous).version


class UnknownModelError(StillwatchError):
    """There is no such model at this stage."""

    hint = "`stillwatch models list` shows those that there are."


class NotReadyError(StillwatchError):
    """The version has learned too little to have a say, or is live already."""

    hint = f"A head needs {LEAST_POSITIVES} confirmed alerts; and it must be another version than the live one."


class OwnModelError(StillwatchError):
    """Whoever gave one of its verdicts has a part in the version, and never promotes it."""

    hint = "Ask another person with the role publisher."


_READERS: Final[dict[str, Callable[[ModelVersion], object]]] = {SUPERVISED: TrainedHead.of, BARS: Bars.of}


def require_usable(version: ModelVersion) -> None:
    """Read a version as the jobs do; raises ValueError where they could not use it."""
    reader = _READERS.get(version.model)
    if reader is None:
        raise ValueError(f"{version.model} is no model of ours")
    reader(version)


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
    """Give every version, by model, the live one first."""
    rows = select(ModelRow).where(ModelRow.tenant == tenant)
    return session.scalars(rows.order_by(ModelRow.model, ModelRow.stage)).all()


def find_model(session: Session, tenant: str, model: str, stage: str) -> ModelRow | None:
    """Give one version."""
    return session.get(ModelRow, (tenant, model, stage))


def live_version(session: Session, tenant: str, model: str) -> ModelVersion | None:
    """Give the version that the jobs use; None where none is live."""
    row = find_model(session, tenant, model, "live")
    return None if row is None or row.retired_at is not None else row.published()


def promote(
    session: Session,
    tenant: str,
    model: str,
    *,
    actor: str,
    now: datetime,
    expected_versions: frozenset[int] | None = None,
) -> ModelRow:
    """Make the version in shadow the live one, in the open transaction; it goes to the topic ``models``.

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
    little = model == SUPERVISED and shadow.positives < LEAST_POSITIVES  # Bars say of each lane what they rest on.
    if little or (standing is not None and standing.version == shadow.version):
        raise NotReadyError(f"{model} {shadow.version} cannot be promoted")
    if shadow.trained_on and _has_judged(session, tenant, actor):
        raise OwnModelError(f"{actor} has given verdicts that {model} learned from")
    before = None if standing is None else describe(standing)
    promoted = msgspec.structs.replace(shadow.published(), stage="live")
    require_usable(promoted)  # What no job could use is never sent to one; the shelf has read it so already.
    replaced = None if standing is None else standing.record
    if live is None:
        live = ModelRow(tenant=tenant, model=model, stage="live")
        session.add(live)
    live.previous = replaced
    _put(live, promoted, actor, now)
    session.flush()
    _tell(session, live, promoted, "model.promoted", actor, before, now)
    return live


def undo(
    session: Session,
    tenant: str,
    model: str,
    *,
    actor: str,
    now: datetime,
    expected_versions: frozenset[int] | None = None,
) -> ModelRow:
    """Put back what was live before the last act on this model; done twice, it is as it was.

    After a promotion that is the version before, or none; after a retirement the version that was retired. Raises
    UnknownModelError or LostRaceError.
    """
    live = _in_turn(session, tenant, model, expected_versions)
    if live.retired_at is None and live.previous is None:
        return _retire(session, live, actor, now)
    before = describe(live)
    if live.retired_at is not None:
        restored = msgspec.structs.replace(live.published(), stage="live")
    else:
        restored = _decoder.decode(live.previous or b"")
        live.previous = live.record
    _put(live, restored, actor, now)
    session.flush()
    _tell(session, live, restored, "model.restored", actor, before, now)
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
    """Take the live version's say away: scores and configured thresholds stand alone. Once is enough.

    Raises UnknownModelError or LostRaceError.
    """
    live = _in_turn(session, tenant, model, expected_versions)
    return live if live.retired_at is not None else _retire(session, live, actor, now)


def _in_turn(session: Session, tenant: str, model: str, expected_versions: frozenset[int] | None) -> ModelRow:
    """Give the row of what is live, or was until it was retired, when this transaction's turn has come."""
    session.execute(_TURN, {"tenant": tenant, "model": model})
    live = session.get(ModelRow, (tenant, model, "live"), with_for_update=True)
    if live is None:
        raise UnknownModelError(f"no {model} was ever live")
    if expected_versions is not None and live.version not in expected_versions:
        raise LostRaceError(f"version {live.version} of {model} is live now")
    return live


def _retire(session: Session, live: ModelRow, actor: str, now: datetime) -> ModelRow:
    before = describe(live)
    retired = msgspec.structs.replace(live.published(), stage="retired")
    live.retired_at, live.retired_by, live.record = now, actor, _encoder.encode(retired)
    session.flush()
    _tell(session, live, retired, "model.retired", actor, before, now)
    return live


def describe(row: ModelRow) -> dict[str, object]:
    """Give what the audit says of a version."""
    stage = "retired" if row.retired_at is not None else row.stage
    told = {"version": row.version, "stage": stage, "trained_on": row.trained_on, "positives": row.positives}
    if row.model != BARS:
        return told
    bars = Bars.of(row.published())
    return told | {"bars": {lane: bars.of_lane(lane) for lane in LANES}}


def _put(live: ModelRow, version: ModelVersion, actor: str, now: datetime) -> None:
    live.version, live.trained_on, live.positives = version.version, version.trained_on, version.positives
    live.created_at, live.stored_at, live.record = read_moment(version.created_at), now, _encoder.encode(version)
    live.promoted_by, live.retired_at, live.retired_by = actor, None, None


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
