"""Findings in, alert revisions out. Alerts are a function of the findings log: crashes and redelivery change none.

The order is: alerts to the broker, then the state that includes them, then the finish line. After a crash the state is
loaded as of an offset and the findings behind it are taken again, which gives the same alerts, byte for byte; readers
drop what they know by ``(alert_id, revision)``. Should the group's offset be ahead of the state (a late writer, a
wiped topic), the gap is read from the log first.

Entitlements, the promoted head and the promoted bars come from outside of that log: each counts from the first hop that
closes after it was read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from detection.ranking.bars import LANES
from schemas.alert import encode_alert
from schemas.dead_letter import name_failure
from schemas.finding import SourceClosed, decode_finding
from schemas.headers import binary_headers
from schemas.model_version import BARS, SUPERVISED
from schemas.topics import ALERTS, FINDINGS
from services.telemetry.logs import get_logger
from services.telemetry.spans import NO_SPANS, TRACEPARENT
from stream_jobs.faust_host.ports import Outgoing
from stream_jobs.faust_host.views import EntitlementsView, LiveModelsView
from stream_jobs.incidents.state import StateStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from detection.incidents.step import IncidentsStep
    from detection.outcomes import Alert
    from schemas.headers import Headers
    from services.adapters.clock import Clock
    from services.telemetry.spans import Span, Spans
    from stream_jobs.faust_host.ports import Ports, Record

NAME: Final = "incidents"
SOURCE: Final = "stillwatch/incidents"
SAVE_SECONDS: Final = 5.0  # What a restart replays at most; a state of some MB every few seconds is little.
SAVE_ALERTS_SECONDS: Final = 1.0  # Sooner after an alert, so that few are sent twice.


class IncidentsJob:
    """The job on its ports; see ``StreamJob``."""

    def __init__(
        self,
        ports: Ports,
        clock: Clock,
        new_step: Callable[[], IncidentsStep],
        hop_ms: int,
        *,
        budget: int,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._spans = spans
        self._ports = ports
        self._clock = clock
        self._new_step = new_step
        self._hop_ms = hop_ms
        self._budget = budget
        self._told: dict[str, int] = {}
        self._step = new_step()
        self._store = StateStore(ports.outbox, ports.log)
        self._entitlements = EntitlementsView(ports.log)
        self._models = LiveModelsView(ports.log, (SUPERVISED, BARS))
        self._applied: Record | None = None
        self._asof = -1
        self._saved = -1
        self._saved_at = clock.monotonic()
        self._alerts_unsaved = False
        self._contiguous = False
        self._sources: dict[str, int] = {}

    async def open(self) -> None:
        """Load the newest state, all entitlements, and the head and the bars that are live."""
        self._step = self._new_step()
        self._store = StateStore(self._ports.outbox, self._ports.log)
        found = await self._store.load()
        if found is not None:
            self._step.load(found.blob)
        self._asof = self._saved = found.asof if found is not None else -1
        self._applied = None
        self._contiguous = False
        self._alerts_unsaved = False
        self._saved_at = self._clock.monotonic()
        self._entitlements = EntitlementsView(self._ports.log)
        self._models = LiveModelsView(self._ports.log, (SUPERVISED, BARS))
        await self._read_entitlements()
        await self._read_models()
        self._tell()

    async def handle(self, record: Record) -> None:
        """Apply a record that the state does not include; finish what a saved state includes."""
        if not self._contiguous:
            self._contiguous = True
            if record.offset > self._asof + 1:
                await self._fill_gap()
        if record.offset > self._asof:
            await self._apply(record)
        elif record.offset <= self._saved:
            self._ports.line.finish(record)

    async def tick(self) -> None:
        """Save when it is time; look for new entitlements, another head and other bars."""
        waited = self._clock.monotonic() - self._saved_at
        due = SAVE_ALERTS_SECONDS if self._alerts_unsaved else SAVE_SECONDS
        if self._asof > self._saved and waited >= due:
            await self._save()
        await self._read_entitlements()
        await self._read_models()
        self._tell()

    async def drain(self) -> None:
        """Save, so that the next start replays nothing."""
        if self._asof > self._saved:
            await self._save()

    async def _fill_gap(self) -> None:
        """Read what the group would skip. Holes of transactions are no gap: then nothing is found."""
        records, _ = await self._ports.log.read(FINDINGS, {0: self._asof + 1})
        for record in records:
            await self._apply(record)

    async def _apply(self, record: Record) -> None:
        try:
            value = decode_finding(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            await self._ports.dead_letters.reject(record, *name_failure(error, record.value), "finding.v1")
        else:
            if isinstance(value, SourceClosed):
                await self._close(value)
            else:
                self._step.add(value)
        self._applied = record
        self._asof = record.offset

    async def _close(self, value: SourceClosed) -> None:
        self._step.closed(value.job, value.partition, value.hop)
        self._sources[f"{value.job}-{value.partition}"] = value.hop
        alerts = self._step.take()
        if not alerts:
            return
        since = self._spans.now_ns()
        traced = [(alert, self._span(alert, since)) for alert in alerts]
        await self._ports.outbox.send(
            [
                Outgoing(ALERTS, alert.alert_id.encode(), encode_alert(alert), _headers(alert, span))
                for alert, span in traced
            ]
        )
        for _, span in traced:
            span.end()
        self._alerts_unsaved = True
        for alert in alerts:
            detector = alert.findings[0].detector if alert.findings else alert.lane
            self._ports.metrics.counter("stillwatch_alerts_total", detector=detector, severity=alert.severity).inc()
            get_logger().info("alert.raised", alert=alert.alert_id, revision=alert.revision, severity=alert.severity)

    def _span(self, alert: Alert, since_ns: int) -> Span:
        return self._spans.start(
            "raise alert",
            "producer",
            since_ns=since_ns,
            alert=alert.alert_id,
            revision=alert.revision,
            lane=alert.lane,
            severity=alert.severity,
        )

    async def _save(self) -> None:
        size = await self._store.save(self._asof, self._step.state())
        self._saved = self._asof
        self._saved_at = self._clock.monotonic()
        self._alerts_unsaved = False
        if self._applied is not None:
            self._ports.line.finish(self._applied)
        get_logger().debug("state.saved", asof=self._asof, size=size)

    async def _read_entitlements(self) -> None:
        for entitlement in await self._entitlements.catch_up():
            self._step.entitle(entitlement)

    async def _read_models(self) -> None:
        for model in sorted(await self._models.catch_up()):
            live = self._models.live.get(model)
            try:
                if model == SUPERVISED:
                    self._step.order_by(live)
                else:
                    self._step.hold_by(live)
            except ValueError as error:
                get_logger().error("model.unusable", error=str(error))
                continue
            for lane in LANES:
                self._ports.metrics.gauge("stillwatch_bar", lane=lane, stage="live").set(self._step.bar_of(lane))
            version = 0 if live is None else live.version
            self._ports.metrics.gauge("stillwatch_model_live_version", model=model).set(version)
            get_logger().info("model.loaded", model=model, version=version)

    def _tell(self) -> None:
        """Name the source that holds the hops back, for /readyz and the metrics."""
        hop = self._step.closed_hop
        self._ports.details |= {
            "asof": str(self._asof),
            "closed_hop": str(hop),
            "head": self._step.head,
            "bars": self._step.bars,
        }
        metrics = self._ports.metrics
        for lane, held in self._step.held.items():
            metrics.gauge("stillwatch_incidents_held", lane=lane).set(held)
        if hop >= 0:
            seconds = (hop + 1) * self._hop_ms / 1000
            metrics.gauge("stillwatch_closed_hop_time_seconds", job=NAME, partition="0").set(seconds)
        metrics.gauge("stillwatch_alert_budget").set(self._budget)
        metrics.gauge("stillwatch_alerts_waiting").set(self._step.unraised)
        for why, count in (("cleared", self._step.suppressed), ("shadow", self._step.shadowed)):
            # The state's own counts: what a restart reads again is not counted twice.
            metrics.counter("stillwatch_suppressed_total", why=why).inc(max(0, count - self._told.get(why, count)))
            self._told[why] = count
        holder = min(self._sources, key=lambda source: (self._sources[source], source), default=None)
        for source in self._sources:
            metrics.gauge("stillwatch_watermark_holder", job=NAME, source=source).set(source == holder)
        if holder is not None:
            self._ports.details["held_by"] = holder


def _headers(alert: Alert, span: Span) -> Headers:
    headers = binary_headers(alert, SOURCE, 0)
    return [*headers, (TRACEPARENT, span.traceparent.encode("ascii"))] if span.traceparent else headers
