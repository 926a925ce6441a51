"""What a gateway's publisher counts, and its page for Prometheus. No label ever names an account."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

EVENTS: Final = "stillwatch_gateway_events_total"
REJECTS: Final = "stillwatch_gateway_rejects_total"
DROPPED: Final = "stillwatch_gateway_dropped_total"
FAILURES: Final = "stillwatch_gateway_failures_total"
SPOOLED: Final = "stillwatch_gateway_spooled_total"
WAITING: Final = "stillwatch_gateway_waiting"
ENFORCED: Final = "stillwatch_gateway_enforced_total"
RULINGS: Final = "stillwatch_gateway_rulings_total"
REFUSALS: Final = "stillwatch_kafka_refusals_total"
DECISIONS: Final = "stillwatch_gateway_decisions_total"

# Names, kinds and labels as ``services.telemetry.metrics.METRICS`` has them; a test compares.
SHAPES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    EVENTS: ("counter", ("format",)),
    REJECTS: ("counter", ("format", "reason")),
    DROPPED: ("counter", ("why",)),
    FAILURES: ("counter", ("where",)),
    SPOOLED: ("counter", ()),
    WAITING: ("gauge", ("place",)),
    ENFORCED: ("counter", ("action",)),
    RULINGS: ("counter", ("action", "dry_run")),
    DECISIONS: ("counter", ("outcome",)),
    REFUSALS: ("counter", ("kind",)),
}


class Counts:
    """Counters of one process, for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def add(self, name: str, *labels: str, amount: int = 1) -> None:
        """Add to a counter of the table; labels by position."""
        with self._lock:
            self._values[name, labels] += amount

    def put(self, name: str, *labels: str, value: int) -> None:
        """Set a gauge of the table."""
        with self._lock:
            self._values[name, labels] = value

    def get(self, name: str, *labels: str) -> int:
        """Give one value; 0 where nothing was counted."""
        with self._lock:
            return self._values[name, labels]

    def values(self) -> dict[tuple[str, tuple[str, ...]], int]:
        """Give everything by name and labels."""
        with self._lock:
            return dict(self._values)

    def total(self, name: str) -> int:
        """Sum a counter over its labels."""
        with self._lock:
            return sum(value for (each, _), value in self._values.items() if each == name)

    def exposition(self) -> str:
        """Write everything in Prometheus' text format."""
        with self._lock:
            values = sorted(self._values.items())
        lines: list[str] = []
        told = ""
        for (name, labels), value in values:
            kind, names = SHAPES[name]
            if name != told:
                lines.append(f"# TYPE {name} {kind}")
                told = name
            pairs = ",".join(f'{label}="{_escape(text)}"' for label, text in zip(names, labels, strict=True))
            lines.append(f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}")
        return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
