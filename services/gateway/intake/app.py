"""The intake: vendors' records by HTTP, sketched at once, so that their text is never on a topic.

    POST /v1/intake/kong        one record, an array of them (Kong's batches), or JSON lines; any format of the registry
    POST /v1/logs               OTLP/HTTP in JSON
    GET  /livez, /metrics

Bodies may be packed by gzip. 202 (OTLP: 200) means that the records are in memory; 429 that there is no room for them
now, which senders answer by trying again. Without a token the intake serves loopback alone.
"""

from __future__ import annotations

import hmac
import os
import zlib
from ipaddress import ip_address
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import msgspec

from services.gateway.formats.credentials import bearer
from services.gateway.formats.registry import VENDORS
from services.gateway.intake.batch import VendorBatch

if TYPE_CHECKING:
    from services.gateway.middleware.asgi import Receive, Scope, Send
    from services.gateway.publishing.publisher import Publishing

MAXIMUM_BYTES: Final = 32 << 20
_PREFIX: Final = "/v1/intake/"
_OTLP: Final = "/v1/logs"
_UNPACKED: Final = 128 << 20
_GZIP: Final = 31


class Refused(Exception):  # noqa: N818 - an answer to a sender, not a failure
    """The request gets this status; ``detail`` is for the sender and quotes nothing."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class IntakeApp:
    """An ASGI application; ``token`` "" serves loopback alone. Starts the publisher with its first request."""

    def __init__(self, publisher: Publishing, token: str = "") -> None:
        self._publisher = publisher
        self._token = token
        self._process = os.urandom(8).hex()
        self._numbers = count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            try:
                status, kind, body = await self._answer(scope, receive)
            except Refused as refused:
                told = {"type": "about:blank", "title": refused.detail, "status": refused.status}
                status, kind, body = refused.status, b"application/problem+json", msgspec.json.encode(told)
            headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
            if status == 429:  # noqa: PLR2004 - HTTP's own number
                headers.append((b"retry-after", b"1"))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._publisher.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                self._publisher.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        path = str(scope["path"])
        if scope["method"] == "GET" and path == "/livez":
            return 200, b"text/plain", b"live\n"
        if scope["method"] == "GET" and path == "/metrics":
            return 200, b"text/plain; version=0.0.4", self._publisher.counts.exposition().encode()
        source = "otlp" if path == _OTLP else path.removeprefix(_PREFIX) if path.startswith(_PREFIX) else ""
        if source not in VENDORS:
            raise Refused(404, f"say {_PREFIX} and one of {', '.join(VENDORS)}")
        if scope["method"] != "POST":
            raise Refused(405, "records are sent by POST")
        headers = {
            bytes(name).decode("latin-1").lower(): bytes(value).decode("latin-1") for name, value in scope["headers"]
        }
        self._admit(headers, scope)
        data = _unpack(await _read(receive), headers.get("content-encoding", "").lower())
        self._publisher.start()
        place = f"{self._process}.{next(self._numbers)}"
        if not self._publisher.offer(VendorBatch(source, data, place)):
            raise Refused(429, "the buffer is full; send the records again")
        return (200 if path == _OTLP else 202), b"application/json", b"{}"

    def _admit(self, headers: dict[str, str], scope: Scope) -> None:
        if not self._token:
            if not _is_loopback(scope.get("client")):
                raise Refused(403, "without STILLWATCH_INTAKE_TOKEN the intake serves loopback alone")
            return
        given = bearer(headers.get("authorization", ""))
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise Refused(401, "send the intake's token as Authorization: Bearer")


def _is_loopback(client: Any) -> bool:
    try:
        return client is None or ip_address(client[0]).is_loopback  # None: a Unix socket.
    except ValueError:
        return False


async def _read(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400, "the sender went away")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MAXIMUM_BYTES:
            raise Refused(413, f"at most {MAXIMUM_BYTES} bytes a request")
        if not message.get("more_body"):
            return b"".join(chunks)


def _unpack(data: bytes, encoding: str) -> bytes:
    if encoding in {"", "identity"}:
        return data
    if encoding != "gzip":
        raise Refused(415, "bodies are plain or packed by gzip")
    try:
        unpacked = zlib.decompressobj(wbits=_GZIP)
        found = unpacked.decompress(data, _UNPACKED)
    except zlib.error:
        raise Refused(400, "the body is no gzip") from None
    if unpacked.unconsumed_tail:
        raise Refused(413, f"at most {_UNPACKED} bytes unpacked")
    return found
