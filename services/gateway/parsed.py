"""What every format module makes of a vendor's record, before identifiers are keyed and text is sketched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

from detection.text.conversation import Conversation

RejectReason: TypeAlias = Literal[
    "not_json",  # The line is no JSON, or nested beyond reading.
    "not_an_object",  # JSON, but no object (or no row of the table).
    "too_large",  # The line is above the limit of bytes.
    "schema",  # A field that is needed has another type, or a RequestEvent v1 line does not validate.
    "no_account",  # Nothing tells whose request it was.
    "no_time",  # No time, or none that can be read.
]
_COUNT_MAXIMUM: Final = 2**31 - 1
_LATEST_SECONDS: Final = (2**53 - 1) // 1000
_SILENT: Final = Conversation()


class RejectedRecord(Exception):  # noqa: N818 - it is an answer about a record, not a failure of the program
    """The record cannot become an event. ``detail`` is our own words and never a value of the record."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: RejectReason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ParsedRequest:
    """One request in clear: text, raw identifiers and all. It never leaves its process and has no repr.

    ``natural_id`` is what tells this request from every other in the vendor's records. Times are ms since the epoch.
    """

    natural_id: tuple[str, ...]
    time_unix_ms: int
    account_raw: str
    organization_raw: str = ""
    end_user_raw: str = ""
    model: str = ""
    provider: str = ""
    operation: str = "chat"
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    choices: int = 1
    stream: bool = False
    finish_reasons: tuple[str, ...] = ()
    first_chunk_ms: int | None = None
    duration_ms: int = 0
    error: str = ""
    user_agent: str = ""
    client_address: str = ""
    logprobs: bool = False
    logit_bias: dict[str, Any] | None = None
    tools: int = 0
    conversation: Conversation = _SILENT


class FormatParser(Protocol):
    """A format module's ``parse``: one decoded record to one request; raises RejectedRecord and nothing else."""

    def __call__(self, record: dict[str, Any]) -> ParsedRequest:
        """Parse one record."""


def as_text(value: object) -> str:
    """Take a string or a whole number as text; "" for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def as_count(value: object) -> int:
    """Take a number as a count within 0 and 2**31 - 1; 0 for anything else."""
    number = as_number(value)
    return 0 if number is None else int(min(max(number, 0), _COUNT_MAXIMUM))


def as_number(value: object) -> float | None:
    """Take a finite number; None for anything else. Vendors' defaults arrive as null, and NaN is no JSON."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if number - number == 0 else None


def as_object(value: object) -> dict[str, Any]:
    """Take an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_time_ms(seconds: float) -> int:
    """Round seconds to ms; raises RejectedRecord where no clock could say so."""
    if not 0 < seconds <= _LATEST_SECONDS:
        raise RejectedRecord("no_time", "the time is out of range")
    return round(seconds * 1000)
