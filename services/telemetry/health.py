"""/livez, /readyz and /metrics on a port of their own, for every process.

Live: the process answers. Ready: every named check passes; the answer lists each with its word. Checks run in the
server's thread at each question, so they must be quick and only read.
"""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.telemetry.metrics import Metrics


_PATIENCE_SECONDS: Final = 3.0  # Less than a scrape waits.


class CheckResult(NamedTuple):
    """Whether a part is ready, and a sentence for the reader."""

    ready: bool
    detail: str


class HealthServer:
    """Serves the three pages until ``stop``. ``port`` is the real one after ``start`` (0 asks for a free one)."""

    def __init__(
        self, metrics: Metrics, checks: Mapping[str, Callable[[], CheckResult]], host: str = "127.0.0.1", port: int = 0
    ) -> None:
        pages = _pages(metrics, dict(checks))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, content_type, body = pages(self.path.partition("?")[0])
                # Who asked may have gone while a check waited for what is away; there is nobody left to tell.
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("Content-Type", content_type)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                """Keep silent: a probe every second is no news."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def start(self) -> HealthServer:
        """Answer from now on."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()


class _ReadyGauge:
    """Each check's answer as a metric, asked at each scrape, which waits for it a little: no page hangs on a check."""

    def __init__(self, metrics: Metrics, checks: Mapping[str, Callable[[], CheckResult]]) -> None:
        self._metrics = metrics
        self._checks = checks
        self._asking: threading.Thread | None = None
        self._answers: dict[str, bool] = {}

    def refresh(self) -> None:
        """Ask, unless the last question is still open; what has no answer in time is not ready."""
        if self._asking is None or not self._asking.is_alive():
            self._answers = {}
            self._asking = threading.Thread(target=self._ask, args=(self._answers,), name="checks", daemon=True)
            self._asking.start()
        self._asking.join(_PATIENCE_SECONDS)
        answers = dict(self._answers)
        for name in self._checks:
            self._metrics.gauge("stillwatch_check_ready", check=name).set(answers.get(name, False))

    def _ask(self, answers: dict[str, bool]) -> None:
        for name, check in self._checks.items():
            answers[name] = readiness({name: check})[0]


def readiness(checks: Mapping[str, Callable[[], CheckResult]]) -> tuple[bool, dict[str, object]]:
    """Ask every check; a check that raises is not ready and tells its exception's class."""
    results: dict[str, object] = {}
    ready = True
    for name, check in checks.items():
        try:
            result = check()
        except Exception as error:  # noqa: BLE001 - a failing check is an answer, not a crash
            result = CheckResult(ready=False, detail=type(error).__name__)
        ready = ready and result.ready
        results[name] = {"ready": result.ready, "detail": result.detail}
    return ready, results


def _pages(
    metrics: Metrics, checks: Mapping[str, Callable[[], CheckResult]]
) -> Callable[[str], tuple[int, str, bytes]]:
    gauge = _ReadyGauge(metrics, checks)

    def answer(path: str) -> tuple[int, str, bytes]:
        if path == "/livez":
            return 200, "text/plain", b"live\n"
        if path == "/metrics":
            gauge.refresh()
            return 200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry)
        if path == "/readyz":
            ready, results = readiness(checks)
            return (200 if ready else 503), "application/json", json.dumps({"ready": ready, "checks": results}).encode()
        return 404, "text/plain", b"not found\n"

    return answer
