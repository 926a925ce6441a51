"""Recorded traffic through the live path's own steps, without Kafka: the same alerts, byte for byte.

Accounts are dealt to partitions by the broker clients' murmur2, and events of one partition keep their order, so with
the cluster's partition count nothing differs from the live path but the transport.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detection.pipeline import LocalPipeline
from schemas.alert import encode_alert
from schemas.columns import attribute_columns, event_columns
from services.adapters.kafka.murmur2 import partitions_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from detection.columns import StructuredArray
    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from detection.outcomes import Alert
    from detection.ranking.bars import BarsRecord
    from detection.ranking.head import HeadRecord
    from schemas.account_attributes import AccountAttributes
    from schemas.entitlement import Entitlement
    from schemas.request_event import RequestEvent

CHUNK: Final = 10_000


class BacktestCounts(msgspec.Struct, kw_only=True):
    """What went in and what came out. ``late`` events count in a hop after their own."""

    events: int = 0
    accounts_told: int = 0
    late: int = 0
    first_ms: int = 0
    last_ms: int = 0
    findings: dict[str, int] = {}
    suppressed: int = 0
    held: dict[str, int] = {}  # Incidents below the bars at the end, by lane.
    revisions: int = 0
    alerts: int = 0


class Backtest:
    """One run. Give attributes and entitlements before the events; ``watch`` sees every chunk of ``EVENT`` columns.

    ``head`` and ``bars`` have their say from the first hop on, as on the live path where they were promoted before.
    Raises ValueError.
    """

    def __init__(
        self,
        config: DetectionConfig,
        references: References | None,
        partitions: int,
        watch: Callable[[StructuredArray], None] | None = None,
        head: HeadRecord | None = None,
        bars: BarsRecord | None = None,
    ) -> None:
        self.counts = BacktestCounts()
        self.pipeline = LocalPipeline(config, references, partitions)
        self.pipeline.order_by(head)
        self.pipeline.hold_by(bars)
        self._partitions = partitions
        self._watch = watch

    def tell(self, attributes: Sequence[AccountAttributes], entitlements: Sequence[Entitlement] = ()) -> None:
        """Take what is known of accounts and licences besides their requests."""
        self.tell_columns(attribute_columns(attributes), entitlements)

    def tell_columns(self, columns: StructuredArray, entitlements: Sequence[Entitlement] = ()) -> None:
        """Take ``ATTRIBUTES`` columns, as ``tell`` does."""
        owner = partitions_of(columns["account"], self._partitions)
        for partition in np.unique(owner).tolist():
            self.pipeline.attributes(partition, columns[owner == partition])
        self.pipeline.entitle(entitlements)
        self.counts.accounts_told += len(columns)

    def run(self, events: Iterable[RequestEvent], chunk: int = CHUNK) -> Iterator[Alert]:
        """Play the events and give every revision of every alert, in the order in which they are raised."""
        remaining = iter(events)
        yield from self.play(event_columns(part) for part in iter(lambda: list(islice(remaining, chunk)), []))

    def play(self, chunks: Iterable[StructuredArray]) -> Iterator[Alert]:
        """Play events that are ``EVENT`` columns already, as ``run`` does."""
        for columns in chunks:
            if self._watch is not None:
                self._watch(columns)
            self._count(columns)
            owner = partitions_of(columns["account"], self._partitions)
            for partition in np.unique(owner).tolist():
                yield from self._told(self.pipeline.feed(partition, columns[owner == partition]))
        yield from self._told(self.pipeline.finish())
        self.counts.late = self.pipeline.late
        self.counts.findings = dict(sorted(self.pipeline.findings.items()))
        self.counts.suppressed = self.pipeline.suppressed
        self.counts.held = {lane: held for lane, held in self.pipeline.held.items() if held}

    def _count(self, columns: StructuredArray) -> None:
        first, last = int(columns["time"].min()), int(columns["time"].max())
        counts = self.counts
        counts.first_ms = min(counts.first_ms, first) if counts.events else first
        counts.last_ms = max(counts.last_ms, last)
        counts.events += len(columns)

    def _told(self, alerts: list[Alert]) -> list[Alert]:
        self.counts.revisions += len(alerts)
        self.counts.alerts += sum(alert.revision == 1 for alert in alerts)
        return alerts


def last_revisions(alerts: Iterable[Alert]) -> list[Alert]:
    """Give the last revision of each alert by event time, then id, as ``alerts export`` does."""
    newest: dict[str, Alert] = {}
    for alert in alerts:
        if alert.alert_id not in newest or alert.revision >= newest[alert.alert_id].revision:
            newest[alert.alert_id] = alert
    return sorted(newest.values(), key=lambda alert: (alert.event_time, alert.alert_id))


def write_alerts(path: Path, alerts: Iterable[Alert]) -> None:
    """Write one alert a line, with the bytes that the live path puts on the ``alerts`` topic."""
    path.write_bytes(b"".join(encode_alert(alert) + b"\n" for alert in alerts))


def count_rejects(items: Iterable[object], kind: type[RequestEvent], rejects: Counter[str]) -> Iterator[RequestEvent]:
    """Pass events on and count everything else by its ``reason``."""
    for item in items:
        if isinstance(item, kind):
            yield item
        else:
            rejects[str(getattr(item, "reason", type(item).__name__))] += 1
