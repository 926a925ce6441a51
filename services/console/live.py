"""Live figures by server-sent events: one look at the database every two seconds, however many pages are open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from services.console.pulse import LOOK_SECONDS, Beat
from services.console.state import state_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

router = APIRouter(include_in_schema=False)
# Proxies cut a silent connection after a minute; a comment keeps it.
KEEP_ALIVE_SECONDS: Final = 20.0


@router.get("/console/events", response_class=StreamingResponse)
async def stream(request: Request) -> StreamingResponse:
    """Send a beat whenever one differs from the last."""
    return StreamingResponse(
        _beats(request),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


async def _beats(request: Request) -> AsyncIterator[bytes]:
    pulse = state_of(request).pulse
    last: Beat | None = None
    silent = 0.0
    # A client that lost the stream comes back by itself after this many milliseconds.
    yield b"retry: 3000\n\n"
    while not await request.is_disconnected():
        beat = await asyncio.to_thread(pulse.read)
        if beat != last:
            last, silent = beat, 0.0
            yield b"event: beat\ndata: " + msgspec.json.encode(beat) + b"\n\n"
        elif silent >= KEEP_ALIVE_SECONDS:
            silent = 0.0
            yield b": still here\n\n"
        await asyncio.sleep(LOOK_SECONDS)
        silent += LOOK_SECONDS
