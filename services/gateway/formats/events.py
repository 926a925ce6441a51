"""RequestEvent v1, one JSON object a line: what ``stillwatch replay --to FILE`` writes. Already keyed and sketched."""

from __future__ import annotations

import msgspec

from schemas.columns import MAXIMUM_EVENT_BYTES
from schemas.request_event import RequestEvent
from services.gateway.parsed import RejectedRecord

_decoder = msgspec.json.Decoder(RequestEvent)


def parse_event(line: bytes) -> RequestEvent:
    """Validate one line; raises RejectedRecord: ``not_json``, ``too_large`` or ``schema``."""
    if len(line) > MAXIMUM_EVENT_BYTES:
        raise RejectedRecord("too_large", f"an event has at most {MAXIMUM_EVENT_BYTES} bytes")
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError as error:
        # msgspec's message may quote a value; its path never does.
        path = str(error).rpartition(" - at `")[2].rstrip("`") if " - at `" in str(error) else "$"
        raise RejectedRecord("schema", f"not valid at {path.split('[', 1)[0][:80]}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RejectedRecord("not_json", "the line is not JSON") from None
