"""Follows ``GET /v1/decisions/stream`` for gateways without Kafka: server-sent events, resumed by their last id.

The records are signed, so the connection is trusted with nothing but its being up: what it leaves out is missed, what
it makes up is refused.
"""

from __future__ import annotations

import http.client
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from services.errors import ConfigurationError
from services.gateway.enforcement.topic_feed import FOLLOW_FAILURE
from services.gateway.publishing.counts import DECISIONS, FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.adapters.clock import Clock
    from services.gateway.enforcement.cache import DecisionCache
    from services.gateway.publishing.counts import Counts

_SILENCE_SECONDS: Final = 30.0  # The server speaks every ten.
_OK: Final = 200
_LONGEST_LINE: Final = 16 << 20


class StreamFollower:
    """A follower on HTTP; see ``Follower``. ``token`` is a service's bearer token, "" for none."""

    def __init__(self, url: str, token: str, cache: DecisionCache, counts: Counts, clock: Clock) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(
                "STILLWATCH_GATEWAY_DECISIONS_URL is no http or https URL",
                "Give the API's address, for example https://stillwatch.example.com/v1/decisions/stream.",
            )
        self._parts = parts
        self._token = token
        self._cache = cache
        self._counts = counts
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._last = ""
        self._retry = 1.0
        self._loaded = False

    @property
    def loaded(self) -> bool:
        """Whether the stream has once said all that holds: it speaks of what is in force before anything else."""
        return self._loaded

    def start(self) -> None:
        """Begin in a thread."""
        self._thread = threading.Thread(target=self._run, name="stillwatch-decisions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread: closing the connection wakes it."""
        self._stop.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            connection.sock.close()
        if self._thread is not None:
            self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (OSError, http.client.HTTPException, ValueError):
                if not self._stop.is_set():
                    self._counts.add(FAILURES, FOLLOW_FAILURE)
            self._stop.wait(self._retry)

    def _follow(self) -> None:
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = kind(str(self._parts.hostname), self._parts.port, timeout=_SILENCE_SECONDS)
        try:
            headers = {"Accept": "text/event-stream"}
            headers |= {"Authorization": f"Bearer {self._token}"} if self._token else {}
            headers |= {"Last-Event-ID": self._last} if self._last else {}
            self._connection.request("GET", self._parts.path or "/v1/decisions/stream", headers=headers)
            response = self._connection.getresponse()
            if response.status != _OK:
                raise http.client.HTTPException(f"the stream answered {response.status}")
            self._read(iter(lambda: response.readline(_LONGEST_LINE), b""))
        finally:
            self._connection.close()

    def _read(self, lines: Iterable[bytes]) -> None:
        for name, fields in events(lines):
            if self._stop.is_set():
                return
            if name == "decision" and "data" in fields:
                outcome = self._cache.take(fields["data"], self._clock.now_ms())
                self._counts.add(DECISIONS, outcome)
                self._last = fields.get("id", b"").decode("ascii", "replace")
            elif name == "caught_up":
                self._loaded = True
                self._cache.prune(self._clock.now_ms())
            if fields.get("retry", b"").isdigit():
                self._retry = int(fields["retry"]) / 1000


def events(lines: Iterable[bytes]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Read server-sent events: each one's name ("message" where it has none) and fields. Comments are left out."""
    fields: dict[str, bytes] = {}
    for raw in lines:
        line = raw.rstrip(b"\r\n")
        if not line:
            if fields:
                yield fields.get("event", b"message").decode("ascii", "replace"), fields
            fields = {}
        elif not line.startswith(b":"):
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            known = fields.get("data")
            key = name.decode("ascii", "replace")
            fields[key] = known + b"\n" + value if key == "data" and known is not None else value
