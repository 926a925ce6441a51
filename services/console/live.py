"""Live figures by server-sent events: one look at the database every two seconds, however many pages are open."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from fastapi import APIRouter, Request
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import StreamingResponse

from services.adapters.postgres.queue import TO_DO
from services.adapters.postgres.tables import AlertRow
from services.console.state import state_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.api.context import ApiContext

router = APIRouter(include_in_schema=False)
LOOK_SECONDS: Final = 2.0
# Proxies cut a silent connection after a minute; a comment keeps it.
KEEP_ALIVE_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Beat:
    """What is to do now. ``raised`` counts every alert that there ever was: its growth is what is new."""

    open: int
    critical: int
    raised: int
    healthy: bool = True


class Pulse:
    """Looks at the queue when asked and the last look is old; a database that is away is told, not raised."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._beat = Beat(open=0, critical=0, raised=0, healthy=False)

    def read(self) -> Beat:
        """Give the newest beat, at most ``LOOK_SECONDS`` old."""
        with self._lock:
            now = self._context.clock.monotonic()
            if now - self._looked >= LOOK_SECONDS:
                self._beat = self._look()
                self._looked = now
            return self._beat

    def _look(self) -> Beat:
        counted = (
            select(AlertRow.severity, AlertRow.state, func.count())
            .where(AlertRow.tenant == self._context.tenant)
            .group_by(AlertRow.severity, AlertRow.state)
        )
        try:
            with self._context.transaction() as session:
                counts = session.execute(counted).all()
        except SQLAlchemyError:
            return Beat(self._beat.open, self._beat.critical, self._beat.raised, healthy=False)
        return Beat(
            open=sum(number for _, state, number in counts if state in TO_DO),
            critical=sum(number for severity, state, number in counts if state in TO_DO and severity == "critical"),
            raised=sum(number for _, _, number in counts),
        )


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
