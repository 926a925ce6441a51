"""Reading of labels, the same for both jobs that live on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from detection.ids import parse_rfc3339
from schemas.dead_letter import name_failure
from schemas.label import Label

if TYPE_CHECKING:
    from schemas.dead_letter import Reason
    from stream_jobs.faust_host.ports import Record

SCHEMA: Final = "label.v1"
UNKNOWN_ALERT: Final[tuple[Reason, str]] = ("bad_identifier", "no alert of this id is kept")
_decoder: Final = msgspec.json.Decoder(Label)


def read_label(record: Record) -> tuple[Label, int] | tuple[Reason, str]:
    """Give the label and its time in ms, or the reason why it is none."""
    try:
        label = _decoder.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return name_failure(error, record.value)
    try:
        return label, parse_rfc3339(label.labelled_at)
    except (ValueError, OverflowError):
        return "schema", "not valid at $.labelled_at"
