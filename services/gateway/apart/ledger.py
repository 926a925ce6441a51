"""What the server has handed over, or is about to, until its event is safe: bounded by number and by bytes.

Work is numbered as it comes, sent in that order, and kept until the publisher process says that it is safe: where that
process dies, everything it had not made safe is sent again.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.gateway.publishing.buffer import Work


@dataclass(slots=True, repr=False)
class Entry:
    """One piece of work. ``strikes`` counts the processes that died with nothing else in hand."""

    number: int
    size: int
    work: Work
    strikes: int = 0


class Ledger:
    """``offer`` may be called from any thread and never waits; everything else by the courier's."""

    def __init__(self, maximum: int, maximum_bytes: int) -> None:
        self._maximum = maximum
        self._maximum_bytes = maximum_bytes
        self._lock = threading.Lock()
        self._waiting: deque[Entry] = deque()
        self._sent: deque[Entry] = deque()
        self._bytes = 0
        self._count = 0
        self._closed = False

    def __len__(self) -> int:
        """Count what is not safe."""
        return len(self._waiting) + len(self._sent)

    @property
    def unsent(self) -> int:
        """Count what waits to be sent."""
        return len(self._waiting)

    @property
    def last_sent(self) -> int:
        """Number the newest that was sent and is not safe; 0 where there is none."""
        return self._sent[-1].number if self._sent else 0

    def offer(self, work: Work) -> bool:
        """Take one piece of work, or say False at once where there is no room for it."""
        size = work.size
        with self._lock:
            full = len(self) >= self._maximum or self._bytes + size > self._maximum_bytes
            if full or self._closed:
                return False
            self._count += 1
            self._bytes += size
            self._waiting.append(Entry(self._count, size, work))
        return True

    def send(self) -> Entry | None:
        """Give the oldest that was not sent, and hold it as sent."""
        with self._lock:
            if not self._waiting:
                return None
            entry = self._waiting.popleft()
            self._sent.append(entry)
            return entry

    def settle(self, number: int) -> None:
        """Let go of everything up to this number: it is safe."""
        with self._lock:
            while self._sent and self._sent[0].number <= number:
                self._bytes -= self._sent.popleft().size

    def strike_out(self, entry: Entry) -> None:
        """Let go of one that was sent and will never be safe."""
        with self._lock:
            self._sent.remove(entry)
            self._bytes -= entry.size

    def after(self, number: int) -> list[Entry]:
        """Give what was sent behind this number."""
        return [entry for entry in self._sent if entry.number > number]

    def rewind(self) -> None:
        """Hold everything that is not safe as not sent."""
        with self._lock:
            self._waiting.extendleft(reversed(self._sent))
            self._sent.clear()

    def close(self) -> list[Work]:
        """Take nothing any more; give what was not sent, in order."""
        with self._lock:
            self._closed = True
            left = [entry.work for entry in self._waiting]
            self._waiting.clear()
            return left
