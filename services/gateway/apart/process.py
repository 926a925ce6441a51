"""The publisher process as the server holds it: started, spoken to without waiting, and buried."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from services.gateway.apart.frames import Begin, Incoming, Report, frame

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROOM: Final = 1 << 20  # Bytes that wait for the socket at most, before the next piece of work is taken up.
_PIECES: Final = 256  # Buffers in one call; the system takes 1,024.
_PIECE_BYTES: Final = 1 << 16
_MODULE: Final = "services.gateway.apart.child"


class PublisherProcess:
    """One process. Raises OSError or RuntimeError where none can be started.

    It is a session of its own, so that Ctrl-C at a terminal does not end it before it has published; it ends when this
    process does. Its standard input is the socket: nothing of a request or of a key is in its arguments or environment.
    """

    def __init__(self, begin: Begin) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - our own module, by this interpreter
                    [sys.executable, "-P", "-m", _MODULE],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        ours.settimeout(0)
        self._socket = ours
        self._incoming = Incoming(msgspec.msgpack.Decoder(Report))
        self._out: deque[memoryview] = deque()
        self._waiting = 0
        self.put(frame(begin))

    def fileno(self) -> int:
        """Give the socket, for a selector."""
        return self._socket.fileno()

    @property
    def pid(self) -> int:
        """Say which process it is."""
        return self._process.pid

    @property
    def full(self) -> bool:
        """Whether enough waits for the socket."""
        return self._waiting >= _ROOM

    @property
    def idle(self) -> bool:
        """Whether the socket has taken everything."""
        return not self._out

    def put(self, buffers: Iterable[bytes]) -> None:
        """Let bytes wait for the socket."""
        for buffer in buffers:
            self._out.append(memoryview(buffer))
            self._waiting += len(buffer)

    def flush(self) -> None:
        """Send what the socket takes; raises OSError where the process is gone."""
        while self._out:
            pieces = [self._out[place] for place in range(min(len(self._out), _PIECES))]
            try:
                sent = self._socket.sendmsg(pieces, (), socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            self._waiting -= sent
            while sent:
                piece = self._out.popleft()
                if len(piece) > sent:
                    self._out.appendleft(piece[sent:])
                    return
                sent -= len(piece)

    def receive(self) -> list[Report] | None:
        """Give the reports that came; None at its end. Raises OSError, msgspec.DecodeError."""
        try:
            data = self._socket.recv(_PIECE_BYTES)
        except BlockingIOError:
            return []
        return [report for report, _ in self._incoming.feed(data)] if data else None

    def finish(self) -> None:
        """Say that nothing more comes: it publishes or spools what it has, reports, and ends."""
        self._socket.shutdown(socket.SHUT_WR)

    def bury(self, seconds: float) -> int:
        """Wait so long for its end, then end it; gives its exit code."""
        self._socket.close()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def can_start() -> bool:
    """Whether this interpreter can be started again: a frozen application would start itself instead."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)
