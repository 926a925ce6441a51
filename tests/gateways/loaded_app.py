"""A model server that answers after 20 ms, for load tests: `app` as it is, `watched` behind the middleware."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from services.gateway.middleware import StillwatchMiddleware

THINKING_SECONDS = 0.02
_ANSWER = "It is wide, and it is deep; nobody who has seen it forgets it. " * 16
_BODY = json.dumps(
    {
        "id": "r",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": _ANSWER}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 200},
    }
).encode()
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Serve one connection."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(THINKING_SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


def watched() -> Any:
    """Make the watched one (uvicorn's --factory)."""
    return StillwatchMiddleware(app)
