"""Keyset cursors: where a page ended, as an opaque token. Pages neither skip nor repeat rows while others are added."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import msgspec
from sqlalchemy import tuple_

from services.adapters.postgres.moments import EPOCH
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

    from services.adapters.postgres.tables import Base

Row = TypeVar("Row")
MAXIMUM_PAGE: Final = 500


class CursorError(StillwatchError):
    """The cursor was not made by this list."""

    hint = "Start again without a cursor."


class Page(NamedTuple, Generic[Row]):
    """Rows in order, and the cursor of the next page; None at the end."""

    rows: Sequence[Row]
    next_cursor: str | None


class Order(NamedTuple):
    """How a list is sorted: by a column of moments or numbers, then by an id that parts equal rows; largest first."""

    model: type[Base]
    by: str
    then: str
    ascending: bool = False


def read_page(session: Session, rows: Select[Row], order: Order, *, limit: int, cursor: str | None) -> Page[Row]:
    """Give the page after ``cursor``, at most ``MAXIMUM_PAGE`` rows; raises CursorError."""
    limit = min(limit, MAXIMUM_PAGE)
    by, then = getattr(order.model, order.by), getattr(order.model, order.then)
    sorted_by = (by, then) if order.ascending else (by.desc(), then.desc())
    statement = rows.order_by(*sorted_by).limit(limit + 1)
    if cursor is not None:
        number, row_id = decode_cursor(cursor)
        key = _moment(number) if by.type.python_type is datetime else number
        here, there = tuple_(by, then), tuple_(key, row_id)
        statement = statement.where(here > there if order.ascending else here < there)
    found: Sequence[Row] = session.scalars(statement).all()
    if len(found) <= limit:
        return Page(found, None)
    last = found[limit - 1]
    return Page(found[:limit], encode_cursor(getattr(last, order.by), getattr(last, order.then)))


def encode_cursor(by: datetime | float, then: str) -> str:
    """Write a row's sort key as a token for URLs; moments count in microseconds."""
    number = (by - EPOCH) // timedelta(microseconds=1) if isinstance(by, datetime) else by
    return base64.urlsafe_b64encode(msgspec.json.encode((number, then))).decode().rstrip("=")


def decode_cursor(token: str) -> tuple[int | float, str]:
    """Read a token; raises CursorError."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        number, then = msgspec.json.decode(raw, type=tuple[int | float, str])
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise CursorError("the cursor cannot be read") from error
    if "\0" in then:
        raise CursorError("the cursor cannot be read")
    return number, then


def _moment(micros: float) -> datetime:
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError as error:
        raise CursorError("the cursor cannot be read") from error
