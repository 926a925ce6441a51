"""One act on many alerts: counted before, capped, each alert in a transaction of its own, every failure told, undone.

Each alert stands for itself: one that somebody else holds fails, and the others are done all the same.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from services.adapters.postgres import audit
from services.adapters.postgres.alerts import AlertFilter, conditions
from services.adapters.postgres.lifecycle import acts, undo
from services.adapters.postgres.lifecycle_tables import ActRow, BulkRow
from services.adapters.postgres.tables import AlertRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Engine

    from services.adapters.postgres.lifecycle.acts import By
    from services.adapters.postgres.lifecycle.standing import Act

CAP: Final = 1000
_PROGRESS_ROWS: Final = 25


class TooManyError(StillwatchError):
    """More alerts match than one bulk act may touch."""

    hint = f"Narrow the filter: {CAP} at most."


class MovedOnError(StillwatchError):
    """Not as many alerts match now as the preview showed; nothing was written."""

    hint = "Look at the preview again."


class UnknownBulkError(StillwatchError):
    """There is no such bulk act."""


@dataclass(frozen=True, slots=True)
class Preview:
    """How many alerts match, and the first of them by priority."""

    count: int
    alert_ids: list[str]


def preview(session: Session, tenant: str, wanted: AlertFilter) -> Preview:
    """Say what a bulk act would touch."""
    where = (AlertRow.tenant == tenant, *conditions(wanted))
    count = session.execute(select(func.count()).select_from(AlertRow).where(*where)).scalar_one()
    first = select(AlertRow.alert_id).where(*where).order_by(AlertRow.priority.desc(), AlertRow.alert_id).limit(CAP)
    return Preview(count, list(session.scalars(first)))


def start(session: Session, by: By, wanted: AlertFilter, act: Act, expected: int) -> tuple[BulkRow, list[str]]:
    """Open a bulk act in the open transaction; raises TooManyError or MovedOnError."""
    found = preview(session, by.tenant, wanted)
    if found.count > CAP:
        raise TooManyError(f"{found.count} alerts match")
    if found.count != expected:
        raise MovedOnError(f"{found.count} alerts match now")
    return begin(session, by, act, found.count), found.alert_ids


def begin(session: Session, by: By, act: Act, total: int) -> BulkRow:
    """Open a bulk act on so many alerts in the open transaction."""
    row = BulkRow(
        tenant=by.tenant,
        bulk_id=uuid.uuid4().hex,
        actor=by.actor,
        at=by.now,
        kind=act.act,
        total=total,
        done=0,
        failures={},
    )
    session.add(row)
    session.flush()
    audit.append(
        session.connection(),
        tenant=by.tenant,
        at=by.now,
        actor=by.actor,
        action="bulk.started",
        subject=f"bulk/{row.bulk_id}",
        after={"kind": act.act, "total": total},
    )
    return row


def run(engine: Engine, by: By, bulk_id: str, alert_ids: Sequence[str], act: Act) -> BulkRow:
    """Do the act on each alert; ``done`` and ``failures`` of the row tell how far it has come."""

    def one(session: Session, alert_id: str) -> None:
        acts.perform(session, by, alert_id, act, bulk_id=bulk_id)

    return _each(engine, by, bulk_id, alert_ids, one, undoing=False)


def take_back(engine: Engine, by: By, bulk_id: str) -> BulkRow:
    """Undo a bulk act, alert by alert; what has moved on since stays, and is told. Raises UnknownBulkError."""
    with Session(engine) as session:
        find(session, by.tenant, bulk_id)
        rows = session.execute(
            select(ActRow.alert_id, ActRow.act_id).where(
                ActRow.tenant == by.tenant, ActRow.bulk_id == bulk_id, ActRow.undone_at.is_(None)
            )
        )
        made = {row.alert_id: row.act_id for row in rows}

    def one(session: Session, alert_id: str) -> None:
        undo.undo(session, by, made[alert_id])

    return _each(engine, by, bulk_id, sorted(made), one, undoing=True)


def find(session: Session, tenant: str, bulk_id: str) -> BulkRow:
    """Give a bulk act as it stands; raises UnknownBulkError."""
    row = session.get(BulkRow, (tenant, bulk_id))
    if row is None:
        raise UnknownBulkError(f"there is no bulk act {bulk_id}")
    return row


def _each(
    engine: Engine,
    by: By,
    bulk_id: str,
    alert_ids: Sequence[str],
    one: Callable[[Session, str], None],
    *,
    undoing: bool,
) -> BulkRow:
    done, failures = 0, {}
    for number, alert_id in enumerate(alert_ids, 1):
        try:
            with Session(engine) as session, session.begin():
                one(session, alert_id)
            done += 1
        except StillwatchError as error:
            failures[alert_id] = error.message
        if number % _PROGRESS_ROWS == 0:
            _note(engine, by, bulk_id, done=done, failures=failures)
    ending = {"undone_at": by.now} if undoing else {"finished_at": by.now}
    return _note(engine, by, bulk_id, done=done, failures=failures, **ending)


def _note(engine: Engine, by: By, bulk_id: str, **values: object) -> BulkRow:
    with Session(engine, expire_on_commit=False) as session, session.begin():
        where = (BulkRow.tenant == by.tenant, BulkRow.bulk_id == bulk_id)
        session.execute(update(BulkRow).where(*where).values(**values))
        return find(session, by.tenant, bulk_id)
