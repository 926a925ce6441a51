"""One request and its response as the middleware saw them, and the event that comes of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from services.gateway.formats import openai
from services.gateway.formats.sse import split_events
from services.gateway.lines import decode
from services.gateway.parsed import RejectedRecord, as_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.request_event import RequestEvent
    from services.gateway.parsed import ParsedRequest
    from services.gateway.routes import Api
    from services.gateway.sketching import EventMaker

_OPERATIONS: Final[dict[Api, str]] = {
    "chat": "chat",
    "completions": "text_completion",
    "responses": "chat",
    "embeddings": "embeddings",
    "messages": "chat",
}
_INFLATED: Final = 64 << 20  # A body that unpacks to more is no prompt.


class Captured:
    """A body's bytes up to ``limit``; what is more counts as text unavailable."""

    __slots__ = ("_limit", "chunks", "cut", "size")

    def __init__(self, limit: int) -> None:
        self.chunks: list[bytes] = []
        self._limit = limit
        self.size = 0
        self.cut = False

    @classmethod
    def of(cls, chunks: Sequence[bytes], *, cut: bool) -> Captured:
        """Make a body that was captured elsewhere."""
        made = cls(0)
        made.chunks, made.cut, made.size = list(chunks), cut, sum(map(len, chunks))
        return made

    def add(self, chunk: bytes) -> None:
        """Keep a chunk."""
        if self.cut:
            return
        if self.size + len(chunk) > self._limit:
            self.cut = True
            self.chunks.clear()
            return
        self.size += len(chunk)
        self.chunks.append(chunk)

    def read(self, encoding: str) -> bytes:
        """Give the whole body, unpacked; empty where it was cut or packed in a way that is not known here."""
        data = b"".join(self.chunks)
        if encoding in {"", "identity"} or not data:
            return data
        if encoding not in {"gzip", "deflate"}:
            return b""
        try:
            return zlib.decompressobj(wbits=47 if encoding == "gzip" else 15).decompress(data, _INFLATED)
        except zlib.error:
            return b""


class _Usage(msgspec.Struct):
    """What is read of an embeddings response: the vectors are passed over."""

    id: Any = None
    model: Any = None
    usage: Any = None


_usage = msgspec.json.Decoder(_Usage)


@dataclass(slots=True, repr=False, kw_only=True)
class Exchange:
    """Holds text and credentials: it goes to the publisher and nowhere else, and has no repr. Times in ms."""

    api: Api
    natural_id: tuple[str, ...]
    account_raw: str
    organization_raw: str = ""
    client_address: str = ""
    user_agent: str = ""
    provider: str = ""
    started_ms: int = 0
    first_chunk_ms: int | None = None  # After the start.
    duration_ms: int = 0
    status: int = 0
    error: str = ""
    request: Captured = field(default_factory=lambda: Captured(0))
    response: Captured = field(default_factory=lambda: Captured(0))
    request_encoding: str = ""
    response_encoding: str = ""
    event_stream: bool = False
    traceparent: str = ""  # As the client or the ingress sent it.
    refused: bool = False  # Its body was never read, so there is nothing to tell of; the refusal is counted.

    @property
    def format(self) -> str:
        """Name the format, for the counters."""
        return self.api

    @property
    def size(self) -> int:
        """Say about how many bytes it holds."""
        return self.request.size + self.response.size + 1024

    def events(self, maker: EventMaker) -> Iterator[RequestEvent | RejectedRecord]:
        """Make the one event."""
        try:
            made: RequestEvent | RejectedRecord = maker.to_event(self.parse())
        except RejectedRecord as rejected:
            made = rejected
        except RecursionError:
            made = RejectedRecord("not_json", "nested beyond reading")
        yield made

    def pack(self) -> tuple[str, bytes, list[bytes]]:
        """Give kind, head and parts for the publisher process."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        head = _Packed(plain, self.request.cut, self.response.cut, len(self.request.chunks))
        return "exchange", msgspec.msgpack.encode(head), self.request.chunks + self.response.chunks

    @classmethod
    def unpack(cls, told: bytes, parts: Sequence[bytes]) -> Exchange:
        """Make it again of its head and parts."""
        head = _packed.decode(told)
        plain = {**head.plain, "natural_id": tuple(head.plain["natural_id"])}
        request = Captured.of(parts[: head.requested], cut=head.request_cut)
        response = Captured.of(parts[head.requested :], cut=head.response_cut)
        return cls(**plain, request=request, response=response)

    def parse(self) -> ParsedRequest:
        """Read both bodies; raises RejectedRecord: ``not_json``, ``schema`` or ``no_account``."""
        body = self.request.read(self.request_encoding)
        parsed = openai.parse(
            {
                "request": {} if self.request.cut else decode(body),
                "response": self._answer(),
                "account": self.account_raw,
                "organization": self.organization_raw,
                "client_address": self.client_address,
                "user_agent": self.user_agent,
                "started_at": self.started_ms / 1000,
                "status": self.status,
                "error": self.error,
                "provider": self.provider,
            }
        )
        return replace(
            parsed,
            natural_id=self.natural_id,
            operation=_OPERATIONS[self.api],
            stream=parsed.stream or self.event_stream,
            first_chunk_ms=self.first_chunk_ms if parsed.stream or self.event_stream else None,
            duration_ms=self.duration_ms,
        )

    def _answer(self) -> dict[str, Any] | list[str]:
        body = self.response.read(self.response_encoding)
        if self.event_stream:
            return list(split_events(body))
        if not body:
            return {}
        try:
            if self.api == "embeddings":
                return msgspec.structs.asdict(_usage.decode(body))
            return as_object(decode(body))
        except (RejectedRecord, msgspec.DecodeError, UnicodeDecodeError):
            return {}  # An answer that is no JSON: an error page, or one that was cut off.


_PLAIN: Final = tuple(each.name for each in fields(Exchange) if each.name not in {"request", "response"})


class _Packed(msgspec.Struct, array_like=True):
    """An exchange without its bodies, which follow as parts: those of the request first."""

    plain: dict[str, Any]
    request_cut: bool
    response_cut: bool
    requested: int


_packed = msgspec.msgpack.Decoder(_Packed)
