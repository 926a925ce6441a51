"""Values as vendors write them: numbers as text, JSON within JSON, one thing under several names.

Nothing here raises but what says so, and nothing quotes a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.gateway.lines import decode
from services.gateway.parsed import RejectedRecord, as_number, as_text, as_time_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ERRORS: Final = range(400, 600)
_LONGEST_NUMBER: Final = 40


def first_text(record: Mapping[str, Any], *names: str) -> str:
    """Give the first of these fields that holds text or a whole number; "" where none does."""
    for name in names:
        text = as_text(record.get(name))
        if text:
            return text
    return ""


def number_text(value: object) -> object:
    """Read a number that came as text; anything else stays as it is."""
    if not isinstance(value, str) or len(value) > _LONGEST_NUMBER:
        return value
    try:
        return float(value)
    except ValueError:
        return value


def json_value(value: object) -> Any:
    """Read JSON that came as text; text that is none stays text, and anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return decode(value.encode("utf-8", "surrogatepass"))
    except RejectedRecord:
        return value


def json_object(value: object) -> dict[str, Any]:
    """Read an object, or JSON text of one; an empty object for anything else."""
    found = json_value(value)
    return found if isinstance(found, dict) else {}


def objects_within(value: object) -> Iterator[dict[str, Any]]:
    """Give the objects of a list or of an object's values, in order."""
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for entry in entries:
        if isinstance(entry, dict):
            yield entry


def ms_time(value: object) -> int:
    """Read ms since the epoch; raises RejectedRecord ``no_time``."""
    number = as_number(number_text(value))
    if number is None:
        raise RejectedRecord("no_time", "the time is no number of ms")
    return as_time_ms(number / 1000)


def status_error(value: object) -> str:
    """Give an HTTP status of 400 and above as an error; "" for any other value."""
    number = as_number(number_text(value))
    return str(int(number)) if number is not None and int(number) in _ERRORS else ""
