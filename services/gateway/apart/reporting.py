"""What the publisher process tells the server: what is done, what is safe, what was counted, and lines for the log.

All of it without waiting: where the server does not read, the next report says everything that this one would have.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from services.gateway.apart.frames import Line, Report, frame
from services.gateway.publishing.counts import SHAPES

if TYPE_CHECKING:
    from services.adapters.clock import Clock
    from services.gateway.apart.works import Received
    from services.gateway.publishing.buffer import Work, WorkBuffer
    from services.gateway.publishing.counts import Counts
    from services.gateway.publishing.sending import Sender

_PAUSE_SECONDS: Final = 0.05
_LIFE_SECONDS: Final = 2.0  # Without news, so often: a process that is silent for long is taken for hung.
_LINES: Final = 1000
_TRIES: Final = 20
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({})))


class Lines(logging.Handler):
    """Keeps the newest lines of the gateway's logger until they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: deque[Line] = deque(maxlen=_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the event and its plain fields: an exception's words are not ours, and may quote a request."""
        found = {name: value for name, value in vars(record).items() if name not in _PLAIN}
        plain = {name: value for name, value in found.items() if isinstance(value, str | int | float | bool | None)}
        self.kept.append(Line(record.levelno, str(record.msg), plain))


class Reporter:
    """Called by the publisher's thread alone, after each piece of work and each turn."""

    def __init__(self, sock: socket.socket, counts: Counts, buffer: WorkBuffer, lines: Lines, clock: Clock) -> None:
        self._socket = sock
        self._counts = counts
        self._buffer = buffer
        self._lines = lines
        self._clock = clock
        self._known: dict[tuple[str, tuple[str, ...]], int] = {}
        self._marks: deque[tuple[int, int]] = deque()  # The sender's number after a piece of work, and its own.
        self._taken = self._safe = 0
        self._told: tuple[int, int] | None = None
        self._told_at = 0.0
        self._left = b""

    def turned(self, work: Work | None, sender: Sender | None) -> None:
        """Take note of finished work and of deliveries, and report where it is time."""
        hurry = False
        if work is not None:
            received: Received = work  # type: ignore[assignment]  # nothing else is put in this process's buffer
            self._taken, hurry = received.number, received.hurry
            self._marks.append((sender.sequence if sender is not None else 0, received.number))
        confirmed = sender.confirmed if sender is not None else 0
        while self._marks and self._marks[0][0] <= confirmed:
            self._safe = self._marks.popleft()[1]
        now = self._clock.monotonic()
        if hurry or self._told is None or now - self._told_at >= _PAUSE_SECONDS:
            self._report(now)

    def finish(self) -> None:
        """Tell the rest, once the publisher's thread has ended; gives up where the server does not read."""
        self._told_at = -_LIFE_SECONDS
        self._report(self._clock.monotonic())
        for _ in range(_TRIES):
            if not self._left or self._push():
                return
            time.sleep(_PAUSE_SECONDS)

    def _report(self, now: float) -> None:
        if self._left and not self._push():
            return
        values = self._counts.values()
        changed = {place: value for place, value in values.items() if self._known.get(place) != value}
        alive = (self._marks or len(self._buffer)) and now - self._told_at >= _LIFE_SECONDS
        if not (changed or alive or self._lines.kept or self._told != (self._taken, self._safe)):
            return
        counters, gauges = [], []
        for (name, labels), value in changed.items():
            if SHAPES[name][0] == "gauge":
                gauges.append((name, labels, value))
            else:
                counters.append((name, labels, value - self._known.get((name, labels), 0)))
        lines = [self._lines.kept.popleft() for _ in range(len(self._lines.kept))]
        self._left = b"".join(frame(Report(self._taken, self._safe, counters, gauges, lines)))
        self._known = values
        self._told, self._told_at = (self._taken, self._safe), now
        self._push()

    def _push(self) -> bool:
        """Send what is left of a report as far as the socket takes it."""
        try:
            self._left = self._left[self._socket.send(self._left, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return False
        except OSError:
            self._left = b""  # The server is gone: nobody is there to be told, and the work goes on to its end.
        return not self._left
