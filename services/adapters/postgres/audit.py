"""The audit: who did what to what, before and after. Rows are added in the act's own transaction and never change.

Each tenant's rows are a chain: a row's hash covers the row and the hash of the row before it, so that a row that is
changed, taken out or slipped in later breaks every hash behind it. The end of the chain is held by each writer until
its commit: take every other lock before the audit's, or two writers may wait for each other.

One change is allowed, and told by a later row: a pseudonym stands for an identifier that was forgotten. That later row
names each row so changed with the hash of what it reads now, so the chain vouches for every word of it (0031).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import insert, select, text

from services.adapters.postgres.cursors import Order, read_page
from services.adapters.postgres.moments import EPOCH
from services.adapters.postgres.partitions import ensure_months
from services.adapters.postgres.tables import AuditRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from services.adapters.postgres.cursors import Page

FIRST_HASH: Final = bytes(32)
FORGOTTEN: Final = "subject.forgotten"
_TURN: Final = text("SELECT seq, hash FROM stillwatch_audit_turn(:tenant)")
_encoder: Final = msgspec.json.Encoder(order="sorted")


def append(
    connection: Connection,
    *,
    tenant: str,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add one act to the open transaction. ``subject`` is a kind and an id, as in "alert/0123456789abcdef"."""
    ensure_months(connection, ("audit",), (at,))
    seq, previous = connection.execute(_TURN, {"tenant": tenant}).one()
    row: dict[str, Any] = {
        "tenant": tenant,
        "at": at,
        "actor": actor,
        "action": action,
        "subject": subject,
        "before": _plain(dict(before)) if before is not None else None,
        "after": _plain(dict(after)) if after is not None else None,
        "seq": seq + 1,
        "previous_hash": bytes(previous),
    }
    # Inline: asking for the id back would need a right to read the table.
    connection.execute(insert(AuditRow).inline().values(**row, hash=link_hash(row)))


def link_hash(row: Mapping[str, Any]) -> bytes:
    """Give the hash that a row must have: SHA-256 of the hash before it and of its canonical JSON (keys sorted)."""
    told = {name: row[name] for name in ("tenant", "seq", "actor", "action", "subject")}
    told["at_unix_us"] = _micros(row["at"])
    told |= {name: _plain(row[name]) for name in ("before", "after")}
    return hashlib.sha256(bytes(row["previous_hash"]) + _encoder.encode(told)).digest()


@dataclass(frozen=True, slots=True)
class Verified:
    """What a walk along the chain found. ``broken_at`` is the first number that is wrong, with the reason."""

    rows: int
    head: str  # Hash of the last good row, hexadecimal.
    broken_at: int | None = None
    reason: str = ""
    forgotten: frozenset[int] = frozenset()  # Rows that hold a pseudonym where they held an identifier.

    @property
    def whole(self) -> bool:
        """Tell whether the chain holds."""
        return self.broken_at is None


def verify(session: Session, tenant: str) -> Verified:
    """Walk a tenant's chain from its beginning to the head that the database keeps beside it."""
    rows = (
        select(AuditRow.__table__)
        .where(AuditRow.tenant == tenant, AuditRow.seq.is_not(None))
        .order_by(AuditRow.seq)
        .execution_options(yield_per=500)
    )
    # A walk that ends early must not leave the server's cursor open.
    with session.execute(rows) as result:
        found = walk(dict(row) for row in result.mappings())
    if not found.whole:
        return found
    head = session.execute(
        text("SELECT seq, hash FROM audit_heads WHERE tenant = :tenant"), {"tenant": tenant}
    ).one_or_none()
    kept = (head.seq, bytes(head.hash).hex()) if head is not None else (0, FIRST_HASH.hex())
    if kept != (found.rows, found.head):
        return Verified(found.rows, found.head, found.rows + 1, "the last rows are missing")
    return found


def walk(rows: Iterable[Mapping[str, Any]]) -> Verified:
    """Check rows that should be a chain from its beginning, in order."""
    count, head = 0, FIRST_HASH
    changed: dict[int, tuple[str, bytes]] = {}  # What reads otherwise than it was hashed, and the hash before it.
    forgotten: set[int] = set()
    for row in rows:
        reason = ""
        if row["seq"] != count + 1:
            reason = "a row is missing"
        elif bytes(row["previous_hash"]) != head:
            reason = "the row does not follow the one before it"
        if reason:
            return Verified(count, head.hex(), count + 1, reason)
        read = link_hash(row)
        if read != bytes(row["hash"]):
            changed[row["seq"]] = (read.hex(), head)
        elif row["action"] == FORGOTTEN:
            told = {int(seq): digest for seq, digest in (row["after"] or {}).get("audit", {}).items()}
            vouched = {seq for seq, digest in told.items() if seq in changed and changed[seq][0] == digest}
            forgotten |= vouched
            for seq in vouched:
                del changed[seq]
        count, head = count + 1, bytes(row["hash"])
    if changed:
        first = min(changed)
        return Verified(first - 1, changed[first][1].hex(), first, "the row was changed")
    return Verified(count, head.hex(), forgotten=frozenset(forgotten))


def list_acts(
    session: Session,
    tenant: str,
    *,
    subject: str | None = None,
    actor: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[AuditRow]:
    """Give a page of the audit, newest first; raises CursorError."""
    rows = select(AuditRow).where(AuditRow.tenant == tenant, AuditRow.seq.is_not(None))
    if subject is not None:
        rows = rows.where(AuditRow.subject == subject)
    if actor is not None:
        rows = rows.where(AuditRow.actor == actor)
    return read_page(session, rows, Order(AuditRow, "seq", "subject"), limit=limit, cursor=cursor)


def _micros(at: datetime) -> int:
    gone = at - EPOCH
    return (gone.days * 86_400 + gone.seconds) * 1_000_000 + gone.microseconds


def _plain(value: Any) -> Any:
    """Give a JSON value as PostgreSQL gives it back: a whole number is an integer."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
