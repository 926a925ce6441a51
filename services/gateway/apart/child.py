"""The publisher process: ``python -m services.gateway.apart.child``, started by a gateway and by nobody else.

Reads work from its standard input, a socket, and runs the same publisher that a gateway without it runs in a thread.
It ends when the socket does: then it publishes or spools what it has, within half a minute. Signals that a terminal
or a service manager sends to all processes at once are not for it: the server ends first, and this one after it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from services.adapters.clock import SystemClock
from services.gateway.apart.frames import Begin, Handed, Incoming
from services.gateway.apart.reporting import Lines, Reporter
from services.gateway.apart.works import unpacked
from services.gateway.configuration import GatewayConfiguration
from services.gateway.publishing.buffer import WorkBuffer
from services.gateway.publishing.counts import Counts
from services.gateway.publishing.starting import make_publisher

if TYPE_CHECKING:
    from collections.abc import Iterator

_NICE: Final = 5  # Responses go before their events.
_PIECE_BYTES: Final = 1 << 18
_LOOK_SECONDS: Final = 1.0
_FULL_SECONDS: Final = 0.01
_END_SECONDS: Final = 30.0
_ENDED_HARD: Final = 3
_FAILED: Final = 1


def main() -> int:
    """Serve one server until it ends; gives the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = _tell_class
    threading.excepthook = lambda failed: _tell_class(failed.exc_type)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    with socket.socket(fileno=os.dup(0)) as sock:
        return _serve(sock)


def _serve(sock: socket.socket) -> int:
    frames = _frames(sock)
    begin = next(frames, None)
    if begin is None or not isinstance(begin[0], Begin):
        return _FAILED
    lines = Lines()
    logger = logging.getLogger("stillwatch.gateway")
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    configuration = GatewayConfiguration.from_environment(begin[0].settings)
    clock, counts = SystemClock(), Counts()
    buffer = WorkBuffer(configuration.gateway_buffer_requests, configuration.gateway_buffer_bytes)
    reporter = Reporter(sock, counts, buffer, lines, clock)
    publisher, _ = make_publisher(
        configuration, clock, begin[0].source, counts=counts, buffer=buffer, turned=reporter.turned
    )
    publisher.start()
    for head, body in frames:
        if isinstance(head, Handed):
            work = unpacked(head, body)
            while not buffer.offer(work):
                time.sleep(_FULL_SECONDS)  # The server keeps what does not fit here.
    ending = threading.Timer(_END_SECONDS, os._exit, (_ENDED_HARD,))
    ending.daemon = True
    ending.start()
    publisher.stop(_END_SECONDS)
    reporter.finish()
    return 0


def _frames(sock: socket.socket) -> Iterator[tuple[Begin | Handed, bytes]]:
    """Give what the server sends until it ends: by its word, or without one."""
    incoming: Incoming[Any] = Incoming(msgspec.msgpack.Decoder(Begin | Handed))
    parent = os.getppid()
    while True:
        if not select.select([sock], [], [], _LOOK_SECONDS)[0]:
            # A process that the server forked may hold the other end open after the server's own end.
            if os.getppid() != parent:
                return
            continue
        try:
            data = sock.recv(_PIECE_BYTES)
        except ConnectionResetError:
            return
        if not data:
            return
        for head, body in incoming.feed(data):
            if isinstance(head, Begin):
                parent = head.parent
            yield head, body


def _tell_class(kind: type[BaseException], *_: object) -> None:
    """Tell of a failure by its class alone: its words and its traceback may quote a request."""
    sys.stderr.write(f"stillwatch publisher process: {kind.__name__}\n")


if __name__ == "__main__":
    sys.exit(main())
