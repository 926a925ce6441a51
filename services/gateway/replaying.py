"""Events of a file, sent again: paced, shifted in time, counted.

Pacing is by event time. Events that are shifted never run ahead of the wall clock, because stream jobs refuse events
from the future: at N times real speed the last event is due at its own shifted time, and all others lie before it.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

import msgspec

from schemas.headers import cloud_event_headers
from schemas.request_event import Heartbeat, RequestEvent
from schemas.topics import REQUESTS
from services.gateway.sources import RejectedLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from detection.config import Clocking
    from services.adapters.clock import Clock
    from services.adapters.kafka.producer import RecordProducer

REJECTS_SHOWN: Final = 100
_SHORTEST_SLEEP: Final = 0.002


class EventSink(Protocol):
    """Where events go."""

    def write(self, event: RequestEvent, encoded: bytes) -> None:
        """Take one event and its JSON."""

    def finish(self) -> None:
        """Return when everything is where it belongs; raises where something is not."""


class KafkaSink:
    """Sends events to the topic of requests, keyed by account."""

    def __init__(self, producer: RecordProducer, source: str) -> None:
        self._producer = producer
        self._source = source

    def write(self, event: RequestEvent, encoded: bytes) -> None:
        """Queue one event."""
        headers = cloud_event_headers(event.event_id, self._source, "request.v1", event.time_unix_ms)
        self._producer.send(REQUESTS.name, event.account.encode("ascii"), encoded, headers)

    def finish(self) -> None:
        """Wait for the broker; raises DeliveryError."""
        self._producer.flush()


class FileSink:
    """Writes events as JSON lines, the format ``events``."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, event: RequestEvent, encoded: bytes) -> None:
        """Write one line."""
        del event
        self._file.write(encoded + b"\n")

    def finish(self) -> None:
        """Hand everything to the operating system."""
        self._file.flush()


@dataclass(slots=True)
class ReplayCounts:
    """``read`` records are ``sent`` events or rejected ones, nothing else. Times are those sent, ms since the epoch."""

    read: int = 0
    sent: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_lines: list[RejectedLine] = field(default_factory=list)  # The first hundred.
    first_ms: int | None = None
    last_ms: int | None = None
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Give the counts as a JSON object; throughput is events a second."""
        return {
            "read": self.read,
            "sent": self.sent,
            "rejected": dict(sorted(self.rejected.items())),
            "rejected_lines": [asdict(line) for line in self.rejected_lines],
            "first_time_unix_ms": self.first_ms,
            "last_time_unix_ms": self.last_ms,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.sent / self.seconds, 1) if self.seconds else None,
        }


def shift_to_now(span: tuple[int, int], now_ms: int, speed: float | None) -> int:
    """Give the ms to add to event times so that no event is sent before its time; ``speed`` None is as fast as can be.

    At 1x the first event is now; as fast as can be the last one is.
    """
    first, last = span
    return now_ms + (0 if speed is None else round((last - first) / speed)) - last


class Replay:
    """Sends items to a sink and counts them. ``counts`` is right at any time, also after an interruption."""

    def __init__(
        self,
        sink: EventSink,
        *,
        shift_ms: int = 0,
        speed: float | None = None,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.counts = ReplayCounts()
        self._sink = sink
        self._shift = shift_ms
        self._speed = speed
        self._clock = clock
        self._sleep = sleep

    def run(self, items: Iterable[RequestEvent | RejectedLine], limit: int | None = None) -> ReplayCounts:
        """Send until the items end or ``limit`` events are sent, then wait for the sink."""
        started = self._clock.monotonic()
        try:
            for item in items:
                self.counts.read += 1
                if isinstance(item, RejectedLine):
                    self._reject(item)
                    continue
                self._send(item, started)
                if limit is not None and self.counts.sent >= limit:
                    break
            self._sink.finish()
        except KeyboardInterrupt:
            self._sink.finish()  # What was counted as sent must be sent, also when a person has had enough.
            raise
        finally:
            self.counts.seconds = self._clock.monotonic() - started
        return self.counts

    def _reject(self, line: RejectedLine) -> None:
        self.counts.rejected[line.reason] += 1
        if len(self.counts.rejected_lines) < REJECTS_SHOWN:
            self.counts.rejected_lines.append(line)

    def _send(self, event: RequestEvent, started: float) -> None:
        counts = self.counts
        event.time_unix_ms += self._shift
        time_ms = event.time_unix_ms
        if counts.first_ms is None or counts.last_ms is None:
            counts.first_ms = counts.last_ms = time_ms
        if self._speed is not None:
            due = started + (time_ms - counts.first_ms) / 1000 / self._speed
            wait = due - self._clock.monotonic()
            if wait > _SHORTEST_SLEEP:
                self._sleep(wait)
        self._sink.write(event, msgspec.json.encode(event))
        counts.sent += 1
        counts.last_ms = max(counts.last_ms, time_ms)


def drain_partitions(
    producer: RecordProducer, last_ms: int, clocking: Clocking, now_ms: int, source: str
) -> tuple[int, bool]:
    """Tell every partition that time has gone past the last event, so that its hops close.

    Gives the time told, in ms, and whether it closes the last event's hop: it never runs ahead of the wall clock, so a
    hop that is still going on ends later, by the jobs' own idle clock.
    """
    wanted = last_ms + clocking.hop_ms + clocking.lateness_ms
    time_ms = min(wanted, now_ms)
    value = msgspec.json.encode(Heartbeat(time_unix_ms=time_ms))
    for partition in range(producer.partitions(REQUESTS.name)):
        headers = cloud_event_headers(f"drain-{time_ms}-{partition}", source, "heartbeat.v1", time_ms)
        producer.send(REQUESTS.name, None, value, headers, partition)
    producer.flush()
    return time_ms, time_ms >= (last_ms // clocking.hop_ms + 1) * clocking.hop_ms + clocking.lateness_ms
