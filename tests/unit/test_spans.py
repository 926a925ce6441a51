"""Spans: none unless asked for, and then one trace through what each record carries."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from detection.config import DetectionConfig
from detection.incidents.step import IncidentsStep
from schemas.topics import ALERTS, FINDINGS
from services.gateway.middleware import StillwatchMiddleware
from services.gateway.publishing.buffer import WorkBuffer
from services.gateway.publishing.counts import EVENTS, Counts
from services.gateway.publishing.publisher import Publisher
from services.telemetry import traces
from services.telemetry.metrics import Metrics
from services.telemetry.otel import OtelSpans
from services.telemetry.spans import NO_SPAN, NO_SPANS, TRACEPARENT, traceparent_of
from services.telemetry.traces import asked_for, start_spans
from stream_jobs.faust_host.memory import MemoryBroker, MemoryLine, memory_ports
from stream_jobs.incidents.job import IncidentsJob
from tests.stream_jobs.clocks import ManualClock
from tests.stream_jobs.findings import findings_log
from tests.unit.gateway.doubles import IDENTITY, Kept, ask, configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from services.telemetry.spans import Spans

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def told() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    yield exporter
    exporter.clear()


@pytest.fixture
def spans(told: InMemorySpanExporter) -> Iterator[OtelSpans]:
    made = OtelSpans("stillwatch-test", SimpleSpanProcessor(told))
    yield made
    made.close()


def ids_of(span: ReadableSpan) -> tuple[str, str]:
    """Its trace, and itself."""
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def trace_of(span: ReadableSpan) -> str:
    return ids_of(span)[0]


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:4318"}, False),
    ],
)
def test_the_standard_variables_say_whether_there_are_spans(environment: dict[str, str], asked: bool) -> None:
    assert asked_for(environment) is asked


def test_nothing_is_made_or_imported_where_nobody_asks() -> None:
    assert start_spans("gateway", {}) is NO_SPANS
    assert NO_SPANS.start("publish request", "producer", parent=PARENT) is NO_SPAN
    assert (NO_SPANS.on, NO_SPANS.now_ns(), NO_SPAN.traceparent) == (False, 0, "")
    text = (
        "import sys, services.gateway.publishing.starting, services.alert_sink.sink, services.decisions.issuer\n"
        "import stream_jobs.accounts.job, stream_jobs.pools.job, stream_jobs.incidents.job\n"
        "from services.telemetry.traces import start_spans\nstart_spans('x', {})\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_loops_of_the_partition_jobs_know_nothing_of_spans() -> None:
    text = (
        "import sys, detection.accounts.step, detection.pools.step, stream_jobs.engine.worker\n"
        "import stream_jobs.accounts.job, stream_jobs.pools.job\n"
        "print('services.telemetry.spans' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_the_extra_it_is_told_once_and_work_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "services.telemetry.otel", None)
    with caplog.at_level(logging.WARNING, traces._log.name):
        assert start_spans("gateway", {"OTEL_TRACES_EXPORTER": "otlp"}) is NO_SPANS
    assert [record.message for record in caplog.records] == ["traces.unavailable"]


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([(TRACEPARENT, PARENT.encode())], PARENT),
        ([("ce_id", b"1"), (TRACEPARENT, PARENT.encode())], PARENT),
        ([(TRACEPARENT, b"x" * 65)], ""),
        ([(TRACEPARENT, "\N{SNOWMAN}".encode())], ""),
        ([(TRACEPARENT, None)], ""),
        ([], ""),
        (None, ""),
    ],
)
def test_a_records_traceparent_is_read_or_left(headers: Any, found: str) -> None:
    assert traceparent_of(headers) == found


@pytest.mark.parametrize("parent", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "00-xyz"])
def test_a_parent_that_is_none_begins_a_trace(parent: str, spans: OtelSpans, told: InMemorySpanExporter) -> None:
    span = spans.start("store alert", "consumer", parent=parent)
    span.end(outcome="new")
    (seen,) = told.get_finished_spans()
    assert seen.parent is None
    assert span.traceparent.split("-")[1] == trace_of(seen)
    assert seen.attributes == {"messaging.system": "kafka", "stillwatch.outcome": "new"}


async def _answer(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"{}"})


def _published(make_spans: Any, *headers: tuple[bytes, bytes]) -> list[Any]:
    """One request through the real middleware and publisher; gives the records."""
    kept, counts = Kept(), Counts()
    sender: Any = kept
    publisher = Publisher(
        IDENTITY, lambda: sender, counts, WorkBuffer(10, 1 << 20), "/gateway/test", make_spans=make_spans
    )
    middleware = StillwatchMiddleware(_answer, configuration(), publisher=publisher, identity=IDENTITY)
    body = b'{"model": "m", "messages": [{"role": "user", "content": "secret words"}]}'
    asyncio.run(ask(middleware, body, headers=((b"authorization", b"Bearer sk-one"), *headers)))
    publisher.stop()
    assert counts.get(EVENTS, "chat") == 1
    return kept.records


def test_a_request_is_published_in_the_trace_that_it_came_with(spans: OtelSpans, told: InMemorySpanExporter) -> None:
    (record,) = _published(lambda: spans, (b"traceparent", PARENT.encode()))
    (seen,) = told.get_finished_spans()
    assert (seen.name, trace_of(seen)) == ("publish request", TRACE)
    carried = traceparent_of(record.headers)
    assert carried == f"00-{TRACE}-{ids_of(seen)[1]}-01"
    assert seen.start_time is not None
    assert seen.end_time is not None
    assert seen.start_time < seen.end_time
    # Names and numbers of ours, and nobody's.
    assert seen.attributes == {"messaging.system": "kafka", "stillwatch.format": "chat"}
    assert record.key.decode() not in seen.to_json()


def test_a_request_carries_no_trace_where_spans_are_off() -> None:
    (record,) = _published(lambda: NO_SPANS, (b"traceparent", PARENT.encode()))
    assert TRACEPARENT not in dict(record.headers)


def test_spans_that_cannot_be_made_stop_no_request() -> None:
    def broken() -> Any:
        raise RuntimeError

    (record,) = _published(broken)
    assert TRACEPARENT not in dict(record.headers)


def test_an_alert_carries_its_trace_and_its_bytes_stay_as_they_are(
    spans: OtelSpans, told: InMemorySpanExporter
) -> None:
    async def alerts(made: Spans) -> list[Any]:
        broker = MemoryBroker()
        ports = memory_ports(broker, MemoryLine(), Metrics(), 2)
        config = DetectionConfig()
        job = IncidentsJob(ports, ManualClock(), lambda: IncidentsStep(config, 2, 2), 900_000, budget=20, spans=made)
        await job.open()
        for raw in findings_log(40, 2):
            await job.handle(broker.append(FINDINGS.name, b"k", raw))
        return [record.value for record in broker.topics[ALERTS.name]]

    traced = asyncio.run(alerts(spans))
    assert traced == asyncio.run(alerts(NO_SPANS))
    seen = told.get_finished_spans()
    assert len(seen) == len(traced) > 0
    assert {each.name for each in seen} == {"raise alert"}
    assert len({trace_of(each) for each in seen}) == len(seen)
