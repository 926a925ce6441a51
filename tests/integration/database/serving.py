"""The application on a free port of the loopback address, as a browser meets it, at a fixed moment."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from services.adapters.postgres.moments import to_unix_ms
from tests.integration.database.samples import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI


class FixedClock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.ms = to_unix_ms(NOW)

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return 0.0


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve on a free port of the loopback address; gives the URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # From here on a client waits for the server and is not refused.
    # A stream without an end is cut off after this long, as the product does it.
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()
