"""The buffer between responses and the publisher: bounded by number and by bytes, and it never makes anybody wait."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.request_event import RequestEvent
    from services.gateway.parsed import RejectedRecord
    from services.gateway.sketching import EventMaker


class Work(Protocol):
    """What becomes events: a finished exchange, or a vendor's record. May hold text; never leaves memory."""

    @property
    def format(self) -> str:
        """Name the format, for the counters."""

    @property
    def size(self) -> int:
        """Say about how many bytes it holds."""

    @property
    def traceparent(self) -> str:
        """Name the trace that the request is part of, as it came; "" for none."""

    def events(self, maker: EventMaker) -> Iterator[RequestEvent | RejectedRecord]:
        """Make the events; called in the publisher's thread."""

    def pack(self) -> tuple[str, bytes, list[bytes]]:
        """Give its kind, a head, and its bytes in parts, for a publisher in another process."""


class WorkBuffer:
    """First in, first out. ``offer`` may be called from any thread, ``take`` from one."""

    def __init__(self, maximum: int, maximum_bytes: int) -> None:
        self._maximum = maximum
        self._maximum_bytes = maximum_bytes
        self._items: deque[Work] = deque()
        self._bytes = 0
        self._changed = threading.Condition(threading.Lock())

    def __len__(self) -> int:
        """Count what waits."""
        return len(self._items)

    def offer(self, work: Work) -> bool:
        """Take one piece of work, or say False at once where there is no room for it."""
        size = work.size
        with self._changed:
            if len(self._items) >= self._maximum or self._bytes + size > self._maximum_bytes:
                return False
            self._items.append(work)
            self._bytes += size
            self._changed.notify()
        return True

    def take(self, seconds: float) -> Work | None:
        """Give the oldest; None where none came within ``seconds``."""
        with self._changed:
            if not self._items:
                self._changed.wait(seconds)
            if not self._items:
                return None
            work = self._items.popleft()
            self._bytes -= work.size
            return work

    def wake(self) -> None:
        """End a waiting ``take``."""
        with self._changed:
            self._changed.notify()
