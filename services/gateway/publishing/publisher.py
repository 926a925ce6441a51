"""The publisher: one background thread that makes events of finished requests and sends them.

Nothing that a response waits for happens here, and nothing here can break one: ``offer`` takes a lock for less than a
microsecond and says no where the buffer is full. Text is held in memory only until its sketch is made.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from schemas.headers import cloud_event_headers
from schemas.topics import REQUESTS
from services.gateway.keys.topic import LinksError
from services.gateway.parsed import RejectedRecord
from services.gateway.publishing.counts import DROPPED, EVENTS, FAILURES, REJECTS, WAITING, Counts
from services.gateway.publishing.spool import Outgoing
from services.gateway.sketching import EventMaker
from services.telemetry.spans import NO_SPANS, TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.request_event import RequestEvent
    from services.gateway.identity import Identity
    from services.gateway.publishing.buffer import Work, WorkBuffer
    from services.gateway.publishing.sending import Sender
    from services.telemetry.spans import Spans

_IDLE_SECONDS: Final = 0.2
_STOP_SECONDS: Final = 5.0
_TURN_SECONDS: Final = 0.02
_log = logging.getLogger("stillwatch.gateway")
_encoder = msgspec.json.Encoder()


class Publishing(Protocol):
    """What a gateway gives its finished requests to: a publisher in a thread, or the way to one in a process."""

    @property
    def counts(self) -> Counts:
        """What was counted so far."""

    def start(self) -> None:
        """Begin; a second call does nothing. Call it in the process that serves."""

    def offer(self, work: Work) -> bool:
        """Take a finished request, or drop and count it at once where there is no room. Never waits."""

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Publish or spool what waits, and end; waits no longer than twice so many seconds."""


class Publisher:
    """Takes work from any thread. ``make_sender`` and ``make_spans`` are called in the publisher's own thread, once.

    ``turned`` is called in that thread too: after each piece of work with it, after each turn of the sender with None.
    """

    def __init__(
        self,
        identity: Identity,
        make_sender: Callable[[], Sender | None],
        counts: Counts,
        buffer: WorkBuffer,
        source: str,
        turned: Callable[[Work | None, Sender | None], None] | None = None,
        make_spans: Callable[[], Spans] = lambda: NO_SPANS,
    ) -> None:
        self.counts = counts
        self._make_spans = make_spans
        self._spans = NO_SPANS
        self._turned = turned or _nothing
        self._identity = identity
        self._make_sender = make_sender
        self._buffer = buffer
        self._source = source
        self._stopping = threading.Event()
        self._begun = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; a second call does nothing. Call it in the process that serves: threads do not survive a fork."""
        with self._begun:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="stillwatch-publisher", daemon=True)
            self._thread.start()
            atexit.register(self.stop)

    def offer(self, work: Work) -> bool:
        """Take a finished request, or drop and count it at once where the buffer is full."""
        if self._buffer.offer(work):
            return True
        self.counts.add(DROPPED, "buffer_full")
        return False

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Publish or spool what waits, and end; gives up after some ``seconds`` of waiting for the broker."""
        self._stopping.set()
        self._buffer.wake()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(2 * seconds)
        atexit.unregister(self.stop)

    def _run(self) -> None:
        self._turned(None, None)
        self._guarded(self._begin_spans)
        maker = EventMaker(self._identity)
        sender = self._sender()
        while not self._stopping.is_set() or len(self._buffer):
            work = self._buffer.take(0.0 if sender is not None and sender.busy else _IDLE_SECONDS)
            # A turn may take long while the spool drains: what came in the meantime must not wait for one turn each.
            until = time.monotonic() + _TURN_SECONDS
            while work is not None:
                self._handle(work, maker, sender)
                self._turned(work, sender)
                # Lets the threads that answer requests run before the next sketch begins.
                time.sleep(0)
                work = self._buffer.take(0.0) if time.monotonic() < until else None
            if sender is not None:
                self._guarded(sender.turn)
            self.counts.put(WAITING, "buffer", value=len(self._buffer))
            self._turned(None, sender)
        if sender is not None:
            self._guarded(lambda: sender.close(_STOP_SECONDS))
        self._guarded(self._spans.close)
        self._turned(None, sender)

    def _begin_spans(self) -> None:
        self._spans = self._make_spans()

    def _sender(self) -> Sender | None:
        """Make the sender; while the mapping of a rotated key cannot be read, requests wait in the buffer."""
        while True:
            try:
                return self._make_sender()
            except LinksError:
                _log.warning("links.waits")
                self._turned(None, None)
                if self._stopping.wait(_IDLE_SECONDS):
                    return None

    def _handle(self, work: Work, maker: EventMaker, sender: Sender | None) -> None:
        since = self._spans.now_ns()
        try:
            for made in work.events(maker):
                if isinstance(made, RejectedRecord):
                    self.counts.add(REJECTS, work.format, made.reason)
                elif sender is None:
                    self.counts.add(DROPPED, "no_kafka")
                else:
                    sender.send(self._record(made, self._trace(work, since) if self._spans.on else ""))
                    self.counts.add(EVENTS, work.format)
        except Exception as error:  # noqa: BLE001 - a request that cannot be read must not end the watch over all others
            self._failed("events", error)

    def _trace(self, work: Work, since_ns: int) -> str:
        """Make the span of one event: from when its work was taken up to when the client library gets it."""
        span = self._spans.start(
            "publish request", "producer", parent=work.traceparent, since_ns=since_ns, format=work.format
        )
        span.end()
        return span.traceparent

    def _record(self, event: RequestEvent, traceparent: str) -> Outgoing:
        headers = cloud_event_headers(event.event_id, self._source, "request.v1", event.time_unix_ms)
        kept = [(name, value) for name, value in headers if isinstance(value, bytes)]
        if traceparent:
            kept.append((TRACEPARENT, traceparent.encode("ascii")))
        return Outgoing(REQUESTS.name, event.account.encode("ascii"), _encoder.encode(event), kept)

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - the thread must outlive a failure of the disk or the client library
            self._failed("sending", error)
            time.sleep(_IDLE_SECONDS)

    def _failed(self, where: str, error: Exception) -> None:
        self.counts.add(FAILURES, where)
        # The class alone: an exception's words may quote a request.
        _log.error("publisher.failed", extra={"where": where, "error": type(error).__name__})


def _nothing(_work: Work | None, _sender: Sender | None) -> None:
    """Tell nobody."""
