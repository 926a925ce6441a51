"""The analysts' queue: a page by priority or by time, and how many alerts each filter would leave.

The facets come from one pass over one index: alerts are counted by every combination of the facets' values, of which
there are hundreds, and the counts of each facet are sums of those. A facet's own choice does not narrow itself, so that
its other values can be chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, true
from sqlalchemy.orm import defer

from services.adapters.postgres.cursors import Order, Page, read_page
from services.adapters.postgres.tables import AlertRow, AuditRow, MemberRow, SinkProgressRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

Facet = Literal["state", "severity", "kind", "lane", "subject_kind", "detector", "family", "assignee"]
Sort = Literal["priority", "newest", "oldest"]
FACETS: Final[tuple[Facet, ...]] = get_args(Facet)
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
# What "to do" means: nobody has judged these, and nobody has put them off.
TO_DO: Final = ("open", "claimed", "reopened")
_ORDERS: Final[Mapping[Sort, Order]] = {
    "priority": Order(AlertRow, "priority", "alert_id"),
    "newest": Order(AlertRow, "event_time", "alert_id"),
    "oldest": Order(AlertRow, "event_time", "alert_id", ascending=True),
}
_ORGANISATIONS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFilter:
    """What the queue holds; an empty tuple asks for all. ``account`` asks for alerts that name it."""

    state: tuple[str, ...] = TO_DO
    severity: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    lane: tuple[str, ...] = ()
    subject_kind: tuple[str, ...] = ()
    detector: tuple[str, ...] = ()
    family: tuple[str, ...] = ()
    assignee: tuple[str, ...] = ()
    organisation: str | None = None
    account: str | None = None

    def chosen(self, facet: Facet) -> tuple[str, ...]:
        """Give the values that are chosen of one facet."""
        values: tuple[str, ...] = getattr(self, facet)
        return values


@dataclass(frozen=True, slots=True)
class Facets:
    """For each facet its values with their counts, most frequent first; ``total`` is what the whole filter leaves."""

    counts: Mapping[Facet, Sequence[tuple[str, int]]]
    total: int
    everything: int


def list_queue(
    session: Session, tenant: str, wanted: QueueFilter, *, sort: Sort = "priority", limit: int, cursor: str | None
) -> Page[AlertRow]:
    """Give a page of the queue without ``record`` and ``payload``; raises CursorError."""
    rows = select(AlertRow).where(AlertRow.tenant == tenant, *conditions(wanted))
    light = rows.options(defer(AlertRow.record, raiseload=True), defer(AlertRow.payload, raiseload=True))
    return read_page(session, light, _ORDERS[sort], limit=limit, cursor=cursor)


Cube = Sequence[tuple[Any, ...]]


def facet_cube(session: Session, tenant: str, wanted: QueueFilter) -> Cube:
    """Count alerts by every combination of the facets' values; the last of a row is the count.

    The choices of facets do not narrow it: one cube answers every view of an organisation, an account or of all.
    """
    columns = [getattr(AlertRow, facet) for facet in FACETS]
    narrowed = _beside_facets(wanted)
    counted = select(*columns, func.count()).where(AlertRow.tenant == tenant, *narrowed).group_by(*columns)
    return [tuple(row) for row in session.execute(counted)]


def change_mark(session: Session, tenant: str) -> tuple[int, int]:
    """Give what differs after any act and after any alert that the sink has stored.

    Acts are in the audit in their own transaction, and so is the sink's progress in that of its alerts. What time alone
    changes, as the end of a snooze, leaves no mark.
    """
    acts = select(func.max(AuditRow.seq)).where(AuditRow.tenant == tenant).scalar_subquery()
    stored = select(func.sum(SinkProgressRow.next_offset)).where(SinkProgressRow.tenant == tenant).scalar_subquery()
    found = session.execute(select(func.coalesce(acts, 0), func.coalesce(stored, 0))).one()
    return int(found[0]), int(found[1])


def facets_of(cube: Cube, wanted: QueueFilter) -> Facets:
    """Say what each value of each facet would leave, the other facets being as they are."""
    counters: dict[Facet, Counter[str]] = {facet: Counter() for facet in FACETS}
    total = everything = 0
    for *found, count in cube:
        values = ["" if value is None else value for value in found]
        everything += count
        misses = [
            facet
            for facet, value in zip(FACETS, values, strict=True)
            if wanted.chosen(facet) and value not in wanted.chosen(facet)
        ]
        if not misses:
            total += count
        for facet, value in zip(FACETS, values, strict=True):
            if not misses or misses == [facet]:
                counters[facet][value] += count
    counts = {facet: sorted(counter.items(), key=lambda row: (-row[1], row[0])) for facet, counter in counters.items()}
    return Facets(counts, total, everything)


def count_matching(session: Session, tenant: str, wanted: QueueFilter) -> int:
    """Count what the filter leaves."""
    return (
        session.scalar(select(func.count()).select_from(AlertRow).where(AlertRow.tenant == tenant, *conditions(wanted)))
        or 0
    )


def matching_ids(session: Session, tenant: str, wanted: QueueFilter, *, limit: int) -> list[str]:
    """Give the ids that a bulk act would touch, highest priority first, at most ``limit``."""
    rows = select(AlertRow.alert_id).where(AlertRow.tenant == tenant, *conditions(wanted))
    return list(session.scalars(rows.order_by(AlertRow.priority.desc(), AlertRow.alert_id.desc()).limit(limit)))


def top_organisations(session: Session, tenant: str, wanted: QueueFilter) -> Sequence[tuple[str, int]]:
    """Give the customers that most of the filter's alerts are about, and how many each."""
    rows = (
        select(AlertRow.organisation, func.count().label("number"))
        .where(AlertRow.tenant == tenant, AlertRow.organisation != "", *conditions(wanted))
        .group_by(AlertRow.organisation)
        .order_by(func.count().desc(), AlertRow.organisation)
        .limit(_ORGANISATIONS)
    )
    return [(row[0], row[1]) for row in session.execute(rows)]


def conditions(wanted: QueueFilter) -> list[ColumnElement[bool]]:
    """Give the filter as SQL."""
    chosen = {facet: wanted.chosen(facet) for facet in FACETS}
    made: list[ColumnElement[bool]] = [
        getattr(AlertRow, facet).in_(values) if len(values) > 1 else getattr(AlertRow, facet) == values[0]
        for facet, values in chosen.items()
        if values
    ]
    return made + _beside_facets(wanted)


def _beside_facets(wanted: QueueFilter) -> list[ColumnElement[bool]]:
    made: list[ColumnElement[bool]] = [true()]
    if wanted.organisation is not None:
        made.append(AlertRow.organisation == wanted.organisation)
    if wanted.account is not None:
        is_member = exists().where(
            MemberRow.tenant == AlertRow.tenant,
            MemberRow.alert_id == AlertRow.alert_id,
            MemberRow.account == wanted.account,
        )
        is_subject = and_(AlertRow.subject_kind == "account", AlertRow.subject == wanted.account)
        made.append(or_(is_subject, is_member))
    return made
