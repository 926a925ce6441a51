"""One request as LiteLLM tells its loggers of it, on its way to the publisher."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from services.gateway.formats.registry import VENDORS, events_of
from services.gateway.lines import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.request_event import RequestEvent
    from services.gateway.parsed import RejectedRecord
    from services.gateway.sketching import EventMaker


@dataclass(frozen=True, slots=True, repr=False)
class Payload:
    """One StandardLoggingPayload. Holds text: it goes to the publisher and nowhere else."""

    payload: dict[str, Any]
    size: int
    format: str = "litellm"

    @property
    def traceparent(self) -> str:
        """Name no trace: the proxy's loggers are not told of one."""
        return ""

    def events(self, maker: EventMaker) -> Iterator[RequestEvent | RejectedRecord]:
        """Make the one event."""
        return events_of(VENDORS["litellm"], self.payload, maker, "litellm")

    def pack(self) -> tuple[str, bytes, list[bytes]]:
        """Give kind, head and parts for the publisher process; objects that are no data count as absent."""
        head = str(self.size).encode()
        try:
            return "payload", head, [msgspec.json.encode(self.payload, enc_hook=_absent)]
        except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
            # Half a surrogate pair, NaN or a number beyond 64 bits: what Python's own JSON can say.
            return "payload", head, [json.dumps(self.payload, default=_absent).encode()]

    @classmethod
    def unpack(cls, told: bytes, parts: Sequence[bytes]) -> Payload:
        """Make it again of its head and parts."""
        return cls(decode(parts[0]), int(told))


def _absent(_: object) -> None:
    return None
