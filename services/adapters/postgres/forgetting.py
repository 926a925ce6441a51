"""Erasure: where identifiers stand in the database, and a pseudonym in the place of each, whatever the table.

Every column of text, JSON or bytes of every table is looked through, so that neither a new column nor somebody's note
can be missed. A pseudonym is drawn at random and kept nowhere: counts, verdicts and the shape of campaigns stay as they
were, and nothing leads from them to whom they were about. See docs/decisions/0031-erasure-by-pseudonym.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    JSON,
    ColumnElement,
    LargeBinary,
    String,
    Table,
    and_,
    case,
    cast,
    func,
    literal,
    not_,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from services.adapters.postgres import alert_store, audit
from services.adapters.postgres.schema import METADATA
from services.adapters.postgres.tables import AlertRow, AuditRow, DecisionRow, EntitlementRow, MemberRow, OutboxRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Column, Connection

IDENTIFIER: Final = re.compile(r"[0-9a-f]{16}")
_AUDIT: Final = "audit"
_NAMED: Final = text(
    "SELECT set_config('stillwatch.forgotten', :old, true), set_config('stillwatch.pseudonym', :new, true)"
)
# Looking through every table takes what it takes; the engine's own limit is for requests.
_PATIENCE: Final = text("SET LOCAL statement_timeout = 0")


class StillEntitledError(StillwatchError):
    """Somebody who has an entitlement is a party to a contract, and cannot be forgotten before its end."""

    hint = "Revoke it first: `stillwatch entitlements list --subject ID`, `stillwatch entitlements revoke ENTITLEMENT`."


class UnsentError(StillwatchError):
    """The outbox holds records about the subject that no topic has yet."""

    hint = "Let the relay send them (`stillwatch doctor`), then try again."


@dataclass(frozen=True, slots=True)
class Standing:
    """What a table still holds. ``until`` is when the last of it may go, None where that is now."""

    table: str
    rows: int
    until: datetime | None = None


@dataclass(slots=True)
class Forgotten:
    """What was changed: rows by table, and rows of the audit by number, with the hash of what each reads now."""

    rows: dict[str, int] = field(default_factory=dict)
    audit: dict[str, str] = field(default_factory=dict)


def accounts_of(connection: Connection, tenant: str, organisation: str) -> set[str]:
    """Give the accounts that alerts name as this organisation's."""
    rows = select(MemberRow.account).where(MemberRow.tenant == tenant, MemberRow.customer == organisation).distinct()
    return set(connection.execute(rows).scalars())


def search(connection: Connection, tenant: str, names: Iterable[str], now: datetime) -> list[Standing]:
    """Count the rows that hold any of these identifiers, by table; tables without one are left out."""
    connection.execute(_PATIENCE)
    pattern = _pattern(names)
    found: list[Standing] = []
    for table in METADATA.sorted_tables:
        holds = _holds(table, pattern)
        kept = _in_force(table, now)
        counted = select(func.count()).select_from(table).where(table.c.tenant == tenant, holds)
        rows = connection.execute(counted if kept is None else counted.where(not_(kept))).scalar_one()
        if rows:
            found.append(Standing(table.name, rows))
        if kept is not None:
            last = func.max(DecisionRow.expires_at)
            held = connection.execute(select(func.count(), last).where(table.c.tenant == tenant, holds, kept)).one()
            if held[0]:
                found.append(Standing(table.name, held[0], held[1]))
    return found


def require_free(connection: Connection, tenant: str, names: Iterable[str], now: datetime) -> None:
    """Raise StillEntitledError or UnsentError where these cannot be forgotten now."""
    known = sorted(names)
    rows = connection.execute(
        select(EntitlementRow.valid_until, EntitlementRow.grace_ms).where(
            EntitlementRow.tenant == tenant, EntitlementRow.subject.in_(known), EntitlementRow.revoked_at.is_(None)
        )
    )
    if any(row.valid_until + timedelta(milliseconds=row.grace_ms) > now for row in rows):
        raise StillEntitledError("an entitlement of the subject, or of one of its accounts, is in force")
    table = METADATA.tables[OutboxRow.__tablename__]
    pending = select(func.count()).where(table.c.tenant == tenant, table.c.relayed_at.is_(None))
    unsent = connection.execute(pending.where(_holds(table, _pattern(known)))).scalar_one()
    if unsent:
        raise UnsentError(f"{unsent} records of the outbox name the subject and are not sent yet")


def forget(connection: Connection, tenant: str, pseudonyms: Mapping[str, str], now: datetime) -> Forgotten:
    """Put a pseudonym in the place of each identifier, in the open transaction; ``tell`` it before the commit.

    Decisions that gateways act on stand until they expire. Raises StillEntitledError, UnsentError.
    """
    connection.execute(alert_store.TURN, {"tenant": tenant})
    connection.execute(_PATIENCE)
    require_free(connection, tenant, pseudonyms, now)
    done = Forgotten()
    pattern = _pattern(pseudonyms)
    # The audit last, for its lock is every writer's.
    for table in sorted(METADATA.sorted_tables, key=lambda each: each.name == _AUDIT):
        holds = _holds(table, pattern)
        where = and_(table.c.tenant == tenant, holds)
        kept = _in_force(table, now)
        if kept is not None:
            where = and_(where, not_(kept))
        if table.name == _AUDIT:
            numbers = connection.execute(select(table.c.seq).where(where)).scalars().all()
            _replace(connection, table, where, pseudonyms)
            done.audit = _read_again(connection, tenant, [number for number in numbers if number is not None])
            continue
        rows = connection.execute(select(func.count()).select_from(table).where(where)).scalar_one()
        if rows:
            _replace(connection, table, where, pseudonyms)
            done.rows[table.name] = rows
    return done


def tell(
    connection: Connection, tenant: str, done: Forgotten, *, actor: str, subject: str, now: datetime, **about: Any
) -> None:
    """Write the erasure into the audit, with the rows of the audit that it changed; ``subject`` names nobody."""
    audit.append(
        connection,
        tenant=tenant,
        at=now,
        actor=actor,
        action=audit.FORGOTTEN,
        subject=subject,
        after={**about, "rows": done.rows, "audit": done.audit},
    )


def when_forgotten(connection: Connection, tenant: str, subject: str) -> Sequence[datetime]:
    """Tell when a subject, by the name that ``tell`` had, was forgotten; oldest first."""
    rows = select(AuditRow.at).where(
        AuditRow.tenant == tenant, AuditRow.action == audit.FORGOTTEN, AuditRow.subject == subject
    )
    return connection.execute(rows.order_by(AuditRow.seq)).scalars().all()


def _pattern(names: Iterable[str]) -> str:
    known = sorted(names)
    if not known or not all(IDENTIFIER.fullmatch(name) for name in known):
        raise ValueError("an identifier has 16 lower-case hexadecimal digits")
    return "|".join(known)


def _columns(table: Table) -> list[Column[Any]]:
    kinds = (String, JSON, ARRAY, LargeBinary)
    return [column for column in table.columns if isinstance(column.type, kinds) and column.name != "tenant"]


def _as_text(column: ColumnElement[Any]) -> ColumnElement[str]:
    # Bytes as text and back, exactly: what is ASCII in them stands as it is.
    return func.encode(column, "escape") if isinstance(column.type, LargeBinary) else cast(column, Text)


def _holds(table: Table, pattern: str) -> ColumnElement[bool]:
    return or_(*(_as_text(column).regexp_match(pattern) for column in _columns(table)))


def _in_force(table: Table, now: datetime) -> ColumnElement[bool] | None:
    if table.name != DecisionRow.__tablename__:
        return None
    return and_(table.c.state == "issued", table.c.expires_at > now)


def _replace(connection: Connection, table: Table, where: ColumnElement[bool], pseudonyms: Mapping[str, str]) -> None:
    for old, new in sorted(pseudonyms.items()):
        connection.execute(_NAMED, {"old": old, "new": new})
        values: dict[str, Any] = {}
        for column in _columns(table):
            replaced: ColumnElement[Any] = func.replace(_as_text(column), old, new)
            back = (
                func.decode(replaced, "escape") if isinstance(column.type, LargeBinary) else cast(replaced, column.type)
            )
            values[column.name] = case((func.strpos(_as_text(column), old) > 0, back), else_=column)
        if table.name == AlertRow.__tablename__:
            values["version"] = table.c.version + literal(1)
        holds = _holds(table, old)
        connection.execute(update(table).where(where, holds).values(values))
    connection.execute(_NAMED, {"old": "", "new": ""})


def _read_again(connection: Connection, tenant: str, numbers: Sequence[int]) -> dict[str, str]:
    rows = connection.execute(
        select(AuditRow.__table__).where(AuditRow.tenant == tenant, AuditRow.seq.in_(numbers)).order_by(AuditRow.seq)
    ).mappings()
    return {str(row["seq"]): audit.link_hash(dict(row)).hex() for row in rows}
