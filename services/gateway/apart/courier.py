"""The way to the publisher process: a bounded ledger, a thread that carries, and a process that is started again.

On the event loop ``offer`` takes a lock, and wakes the thread where it sleeps for want of work; else the thread looks
by itself every ten milliseconds. It holds the interpreter's lock for some tens of microseconds a request: bodies go to
the socket as they were captured, and reading, keying and sketching them is the other process's.

Delivery is at least once. What that process had not made safe when it died is sent to the next one, and gives the same
``event_id`` there. A request that kills three processes with nothing else in hand is dropped and counted. Where no
process can be started, the publisher works in a thread of this one.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

import msgspec

from services.gateway.apart.frames import Handed, frame
from services.gateway.publishing.counts import DROPPED, FAILURES, SHAPES, WAITING

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.adapters.clock import Clock
    from services.gateway.apart.frames import Line
    from services.gateway.apart.ledger import Ledger
    from services.gateway.apart.process import PublisherProcess
    from services.gateway.publishing.buffer import Work
    from services.gateway.publishing.counts import Counts
    from services.gateway.publishing.publisher import Publishing

_COLLECT_SECONDS: Final = 0.01
_IDLE_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 5.0
_BURIAL_SECONDS: Final = 5.0
_LAST_SECONDS: Final = 35.0  # A process that was told to end does so within 30.
_SILENT_SECONDS: Final = 120.0
_BACKOFF_SECONDS: Final = (0.0, 0.2, 1.0, 5.0, 15.0, 30.0)
_STILLBORN: Final = 3
_STRIKES: Final = 3
_log = logging.getLogger("stillwatch.gateway")


class Courier:
    """See ``Publishing``. ``spawn`` starts a process; ``in_thread`` makes the publisher that works where none starts.

    ``begun`` is called in the courier's thread before all else.
    """

    def __init__(
        self,
        spawn: Callable[[], PublisherProcess],
        ledger: Ledger,
        counts: Counts,
        clock: Clock,
        in_thread: Callable[[], Publishing],
        begun: Callable[[], None],
    ) -> None:
        self.counts = counts
        self._spawn = spawn
        self._ledger = ledger
        self._clock = clock
        self._in_thread = in_thread
        self._on_begin = begun
        self._instead: Publishing | None = None
        self._child: PublisherProcess | None = None
        self._begun = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._asleep = False
        self._bell: tuple[socket.socket, socket.socket] | None = None
        self._deaths = 0  # In a row, without a piece of work done.
        self._stillborn = 0  # In a row, by themselves and without a word.
        self._taken = self._safe = 0
        self._suspect = 0  # Up to this number, one piece of work at a time: one of them may have killed a process.
        self._heard = 0.0
        self._spoke = False
        self._again_at = 0.0
        self._finishing = False

    def start(self) -> None:
        """Begin; a second call does nothing. Call it in the process that serves: threads do not survive a fork."""
        with self._begun:
            if self._thread is not None:
                return
            self._bell = socket.socketpair()
            for end in self._bell:
                end.settimeout(0)
            self._thread = threading.Thread(target=self._run, name="stillwatch-courier", daemon=True)
            self._thread.start()
            atexit.register(self.stop)

    def offer(self, work: Work) -> bool:
        """Take a finished request, or drop and count it at once where there is no room."""
        if self._ledger.offer(work):
            if self._asleep:
                self._asleep = False
                self._wake()
            return True
        if self._instead is not None:
            return self._instead.offer(work)
        self.counts.add(DROPPED, "buffer_full")
        return False

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Let the process publish or spool what waits, and end; waits no longer than twice so many seconds."""
        self._deadline = self._clock.monotonic() + 2 * seconds
        self._stopping.set()
        self._wake()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(2 * seconds)
        if self._instead is not None:
            self._instead.stop(seconds)
        atexit.unregister(self.stop)

    def _wake(self) -> None:
        if self._bell is not None:
            with contextlib.suppress(OSError):  # It is full, so the thread will wake; or the thread has ended.
                self._bell[0].send(b"\0")

    def _run(self) -> None:
        try:
            self._on_begin()
            while self._goes_on():
                self._turn()
        except Exception as error:  # noqa: BLE001 - whatever fails here, requests must be told of
            self._failed("courier", error)
            self._work_in_thread()
        self._end()

    def _goes_on(self) -> bool:
        if self._instead is not None:
            return False
        if not self._stopping.is_set():
            return True
        left = self._child is not None or len(self._ledger) > 0
        return left and self._clock.monotonic() < self._deadline

    def _turn(self) -> None:
        if self._child is None and not self._begin_child():
            self._rest(max(0.01, min(self._again_at - self._clock.monotonic(), _IDLE_SECONDS)))
            return
        if self._child is None:
            return
        try:
            self._carry(self._child)
        except (OSError, EOFError, msgspec.DecodeError):
            self._bury(self._child)

    def _begin_child(self) -> bool:
        if self._clock.monotonic() < self._again_at:
            return False
        try:
            self._child = self._spawn()
        except (OSError, RuntimeError) as error:
            self._failed("process", error)
            self._died(stillborn=True)
            return False
        self._heard, self._spoke = self._clock.monotonic(), False
        return True

    def _carry(self, child: PublisherProcess) -> None:
        self._fill(child)
        if self._stopping.is_set() and not self._ledger.unsent and child.idle and not self._finishing:
            self._finishing = True
            child.finish()
        if len(self._ledger) and child.idle and not self._stopping.is_set():
            # While there is work, by the clock: to be rung would mean to wake just when the next requests come.
            time.sleep(_COLLECT_SECONDS)
            self._heed(child, 0.0)
            return
        self._asleep = True
        if self._ledger.unsent and not (child.full or self._finishing) and self._may_send():
            return  # It came just now.
        self._heed(child, _IDLE_SECONDS)

    def _heed(self, child: PublisherProcess, seconds: float) -> None:
        ready = self._wait(seconds, child)
        if ready & ~select.POLLOUT:
            self._hear(child)
        self.counts.put(WAITING, "buffer", value=len(self._ledger))
        now = self._clock.monotonic()
        if not len(self._ledger):
            self._heard = now  # It has nothing to say.
        elif now - self._heard > _SILENT_SECONDS:
            _log.error("publisher.process_silent")
            raise EOFError

    def _may_send(self) -> bool:
        last = self._ledger.last_sent
        return last > self._suspect or last <= self._taken

    def _fill(self, child: PublisherProcess) -> None:
        while not (child.full or self._finishing) and self._may_send():
            entry = self._ledger.send()
            if entry is None:
                break
            hurry = entry.number <= self._suspect
            try:
                kind, told, parts = entry.work.pack()
            except Exception as error:  # noqa: BLE001 - what cannot be packed must not stand before all others
                self._ledger.strike_out(entry)
                self._failed("events", error)
                continue
            child.put(frame(Handed(entry.number, kind, told, [len(part) for part in parts], hurry), parts))
        child.flush()

    def _hear(self, child: PublisherProcess) -> None:
        reports = child.receive()
        if reports is None:
            raise EOFError
        for report in reports:
            self._heard, self._spoke = self._clock.monotonic(), True
            if report.taken > self._taken:
                self._taken, self._deaths = report.taken, 0
            self._safe = max(self._safe, report.safe)
            self._ledger.settle(report.safe)
            for name, labels, amount in report.counters:
                if name in SHAPES:
                    self.counts.add(name, *labels, amount=amount)
            for name, labels, value in report.gauges:
                if (name, labels) != (WAITING, ("buffer",)):  # The ledger counts those, and more.
                    self.counts.put(name, *labels, value=value)
            for line in report.lines:
                _repeat(line)

    def _bury(self, child: PublisherProcess) -> None:
        self._child = None
        with contextlib.suppress(OSError, EOFError, msgspec.DecodeError):
            self._hear(child)  # What it said before it ended.
        code = child.bury(_BURIAL_SECONDS)
        ended_well = self._finishing and not self._ledger.last_sent
        self._finishing = False
        if ended_well:
            return
        self.counts.add(FAILURES, "process")
        _log.error("publisher.process_ended", extra={"code": code, "again": len(self._ledger)})
        if self._spoke:  # Before its first word it has looked at no work.
            self._accuse()
        self._ledger.rewind()
        self._taken = self._safe
        self.counts.put(WAITING, "kafka", value=0)
        # What a signal ended, a fault of the machine's perhaps, must not be tried in the server's own process.
        self._died(stillborn=not self._spoke and code >= 0)

    def _accuse(self) -> None:
        """Find out what the process may have died of: alone in hand, it is struck; else each is tried alone."""
        in_hand = self._ledger.after(self._taken)
        if in_hand:
            self._suspect = max(self._suspect, in_hand[-1].number)
        if len(in_hand) == 1:
            in_hand[0].strikes += 1
            if in_hand[0].strikes >= _STRIKES:
                self._ledger.strike_out(in_hand[0])
                self.counts.add(DROPPED, "killed_publisher")

    def _died(self, *, stillborn: bool) -> None:
        self._again_at = self._clock.monotonic() + _BACKOFF_SECONDS[min(self._deaths, len(_BACKOFF_SECONDS) - 1)]
        self._deaths += 1
        self._stillborn = self._stillborn + 1 if stillborn else 0
        if self._stillborn >= _STILLBORN:
            self._work_in_thread()

    def _work_in_thread(self) -> None:
        if self._instead is not None:
            return
        _log.error("publisher.in_thread")
        self._ledger.rewind()
        instead = self._in_thread()
        instead.start()
        self._instead = instead
        for work in self._ledger.close():
            instead.offer(work)

    def _rest(self, seconds: float) -> None:
        if self._stopping.is_set():
            time.sleep(0.01)
        else:
            self._wait(seconds)

    def _wait(self, seconds: float, child: PublisherProcess | None = None) -> int:
        """Wait for a word of either side; gives what the process's socket is ready for."""
        poll = select.poll()
        bell = self._bell[1] if self._bell is not None else None
        if bell is not None:
            poll.register(bell, select.POLLIN)
        if child is not None:
            poll.register(child, select.POLLIN if child.idle else select.POLLIN | select.POLLOUT)
        ready = dict(poll.poll(seconds * 1000))
        self._asleep = False
        if bell is not None and bell.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                bell.recv(4096)
            if not self._stopping.is_set():
                time.sleep(_COLLECT_SECONDS)  # So that several requests cost one turn.
        return ready.get(child.fileno(), 0) if child is not None else 0

    def _end(self) -> None:
        """Count what no process has got; one that is still at its work ends by itself, and is waited for here."""
        child, self._child = self._child, None
        if child is None:
            self._ledger.rewind()
        lost = len(self._ledger.close())
        if lost:
            self.counts.add(DROPPED, "unsent", amount=lost)
            _log.error("publisher.unsent", extra={"requests": lost})
        if child is not None:
            child.bury(_LAST_SECONDS)
        for end in self._bell or ():
            end.close()

    def _failed(self, where: str, error: Exception) -> None:
        self.counts.add(FAILURES, where)
        # The class alone: an exception's words may quote a request.
        _log.error("publisher.failed", extra={"where": where, "error": type(error).__name__})


def _repeat(line: Line) -> None:
    if _log.isEnabledFor(line.level):
        _log.handle(_log.makeRecord(_log.name, line.level, "", 0, line.event, (), None, extra=line.extra))
