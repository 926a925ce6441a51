"""The counts as a page for Prometheus, on loopback, for hosts that offer no page of their own."""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.gateway.publishing.counts import Counts

_log = logging.getLogger("stillwatch.gateway")


def serve_counts(counts: Counts, port: int, host: str = "127.0.0.1") -> ThreadingHTTPServer | None:
    """Answer ``/metrics`` from now on; None where the port is taken, which is told and stops nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.partition("?")[0] == "/metrics"
            body = counts.exposition().encode() if found else b"not found\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4" if found else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Keep silent: a scrape is no news."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError:
        _log.warning("publisher.port_taken", extra={"port": port})
        return None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="stillwatch-metrics", daemon=True).start()
    return server
