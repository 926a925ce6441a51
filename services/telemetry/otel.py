"""Spans by OpenTelemetry's SDK. Imported only where spans are asked for: the SDK is an extra."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span as Recorded

    from services.telemetry.spans import Kind, Span

_KINDS: Final = {"producer": SpanKind.PRODUCER, "consumer": SpanKind.CONSUMER}
_PREFIX: Final = "stillwatch."
_propagator: Final = TraceContextTextMapPropagator()


class OtelSpan:
    """See ``Span``."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, set_span_in_context(recorded))
        self.traceparent = carrier.get("traceparent", "")

    def end(self, **told: str | int | bool) -> None:
        """Finish it, with more attributes."""
        for name, value in told.items():
            self._recorded.set_attribute(_PREFIX + name, value)
        self._recorded.end()


class OtelSpans:
    """See ``Spans``. Sampler and limits are the SDK's, from the environment."""

    on = True

    def __init__(self, service: str | None, processor: SpanProcessor) -> None:
        named = {} if service is None else {"service.name": service}
        self._provider = TracerProvider(resource=Resource.create(named))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("stillwatch")

    def now_ns(self) -> int:
        """Give the wall clock's moment, as the SDK stamps spans by it."""
        return time.time_ns()

    def start(
        self, name: str, kind: Kind, *, parent: str = "", since_ns: int = 0, **attributes: str | int | bool
    ) -> Span:
        """Begin a span; a parent that is no traceparent counts as none."""
        return OtelSpan(
            self._tracer.start_span(
                name,
                context=_propagator.extract({"traceparent": parent}) if parent else None,
                kind=_KINDS[kind],
                attributes={"messaging.system": "kafka"} | {_PREFIX + key: value for key, value in attributes.items()},
                start_time=since_ns or None,
            )
        )

    def close(self) -> None:
        """Export what waits, and end."""
        self._provider.shutdown()


def exported_spans(service: str | None) -> OtelSpans:
    """Give spans that go out by OTLP over HTTP in batches, from a thread of their own."""
    return OtelSpans(service, BatchSpanProcessor(OTLPSpanExporter()))
