"""Answers in place of the application's, in the shape that each API's clients read; bodies that a policy changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from services.gateway.lines import decode
from services.gateway.middleware.enforcing import Refusal
from services.gateway.parsed import RejectedRecord

if TYPE_CHECKING:
    from services.gateway.middleware.asgi import Message, Receive, Scope, Send
    from services.gateway.middleware.enforcing import Transform
    from services.gateway.routes import Api

_TOO_LARGE: Final = 413
_KINDS: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class BodyTooLargeError(Exception):
    """A body that must be changed and is larger than what the gateway keeps; ``refusal`` says so to its sender."""

    def __init__(self, limit: int) -> None:
        super().__init__("the body is too large to be changed")
        self.refusal = Refusal(_TOO_LARGE, "request_too_large", f"Send at most {limit} bytes with this key.")


def error_body(api: Api, refusal: Refusal) -> dict[str, Any]:
    """Give the body of a refusal as clients of the API expect it."""
    kind = _KINDS.get(refusal.status, "invalid_request_error")
    if api == "messages":
        return {"type": "error", "error": {"type": kind, "message": refusal.message}}
    return {"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}}


async def refuse(send: Send, api: Api, refusal: Refusal) -> None:
    """Send the refusal as the whole response."""
    body = msgspec.json.encode(error_body(api, refusal))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.retry_after_seconds is not None:
        headers.append((b"retry-after", str(refusal.retry_after_seconds).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def transformed(scope: Scope, receive: Receive, transform: Transform, limit: int) -> tuple[Scope, Receive]:
    """Read the body, change it, and give the scope and the channel that tell it to the application.

    A body that is no JSON object goes on as it came: the application will refuse it. Raises BodyTooLargeError.
    """
    chunks: list[bytes] = []
    size = 0
    pending: list[Message] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            pending.append(message)  # The client went away.
            break
        size += len(message.get("body", b""))
        if size > limit:
            raise BodyTooLargeError(limit)
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = b"".join(chunks)
    try:
        decoded = decode(body)
    except RejectedRecord:
        decoded = None
    if isinstance(decoded, dict):
        body = msgspec.json.encode(transform(decoded))
        headers = [
            (name, value) for name, value in scope.get("headers", ()) if bytes(name).lower() != b"content-length"
        ]
        scope = {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}
    if not pending:
        pending.append({"type": "http.request", "body": body, "more_body": False})

    async def again() -> Message:
        return pending.pop(0) if pending else await receive()

    return scope, again
