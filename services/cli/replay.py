"""`stillwatch replay`: the records of a file, sent as a gateway would send them."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.topics import REQUESTS
from services import bootstrap
from services.adapters.clock import SystemClock
from services.adapters.kafka.producer import KafkaProducer
from services.errors import ConfigurationError, StillwatchError
from services.gateway.identity import load_identity
from services.gateway.keys.topic import attach_links
from services.gateway.replaying import FileSink, KafkaSink, Replay, drain_partitions, shift_to_now
from services.gateway.sources import Format, open_source, time_span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from schemas.request_event import RequestEvent
    from services.gateway.replaying import EventSink, ReplayCounts
    from services.gateway.sources import RejectedLine

FormatName = Format
TimeMode = Literal["original", "now"]
_KAFKA: Final = "kafka"
_STDOUT: Final = "-"
_INTERRUPTED: Final = 130
_LINES_SHOWN: Final = 5


class NothingToReplayError(StillwatchError):
    """No record of the file is a request of the format that was named."""

    hint = "Check --format; `stillwatch replay --help` lists the formats."


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("replay")(replay)


def parse_speed(text: str) -> float | None:
    """Read ``1x``, ``10x``, ``0.5x`` as a factor and ``max`` as None; raises ConfigurationError."""
    if text == "max":
        return None
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise ConfigurationError(f"--speed {text} is no speed", "Say 1x, 10x or max.")
    return speed


def parse_moment(text: str) -> int:
    """Read RFC 3339 as ms since the epoch; raises ConfigurationError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"{text} is no time", "Say it as 2024-06-01T00:00:00Z.") from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def replay(
    file: Annotated[Path, typer.Argument(help="JSON lines, a JSON array, or the CSV of the Azure traces.")],
    *,
    format_name: Annotated[FormatName, typer.Option("--format", help="Whose records these are.")],
    to: Annotated[str, typer.Option("--to", help="kafka, a file for events as JSON lines, or - for stdout.")] = _KAFKA,
    speed: Annotated[str, typer.Option("--speed", help="1x, 10x, ... by event time, or max.")] = "max",
    time_mode: Annotated[
        TimeMode | None,
        typer.Option("--time", help="original, or now: shifted to the present. [default: original for events]"),
    ] = None,
    base_time: Annotated[
        str, typer.Option("--base-time", help="When a Mooncake trace begins.")
    ] = "2024-06-01T00:00:00Z",
    drain: Annotated[bool, typer.Option("--drain", help="Close the hops behind the last event (Kafka only).")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Stop after this many events.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the counts as JSON (to stderr with --to -).")] = False,
) -> None:
    """Send the records of a file as a gateway would send them.

    Every record is counted: it is sent as an event or rejected by a named reason. Raw keys, addresses and text are
    keyed and sketched on the way. Mooncake and Azure traces name no accounts: theirs are made up, for load and not
    for judging the detector.
    """
    factor = parse_speed(speed)
    base_ms = parse_moment(base_time)
    if drain and to != _KAFKA:
        raise ConfigurationError("--drain writes control records, and those go to Kafka only", "Leave --drain out.")
    settings = bootstrap.load_settings()
    clock = SystemClock()
    source = f"/gateway/{format_name}"
    mode = time_mode or ("original" if format_name == "events" else "now")
    shift = 0
    if mode == "now":
        span = time_span(file, format_name, base_time_ms=base_ms, limit=limit)
        shift = 0 if span is None else shift_to_now(span, clock.now_ms(), factor)
    with ExitStack() as stack:
        producer: KafkaProducer | None = None
        if to == _KAFKA:
            producer = _producer()
            sink: EventSink = KafkaSink(producer, source)
        else:
            sink = _file_sink(to, file, stack)
        identity = load_identity(settings)
        if producer is not None:
            attach_links(identity, settings, bootstrap.bootstrap_servers(settings))
        items = open_source(file, format_name, identity, base_time_ms=base_ms)
        run = Replay(sink, shift_ms=shift, speed=factor, clock=clock)
        interrupted = _run(run, items, limit, quiet=as_json)
        counts = run.counts
        closes: bool | None = None
        if drain and producer is not None and counts.last_ms is not None and not interrupted:
            clocking = bootstrap.load_detection_config(settings).clocking
            _, closes = drain_partitions(producer, counts.last_ms, clocking, clock.now_ms(), source)
    _tell(counts, to, closes, as_json=as_json)
    if interrupted:
        raise typer.Exit(_INTERRUPTED)
    if counts.read and not counts.sent:
        raise NothingToReplayError(f"none of the {counts.read} records of {file} is a request of {format_name}")


def _producer() -> KafkaProducer:
    producer = KafkaProducer(bootstrap.producer_base(bootstrap.load_settings()))
    producer.partitions(REQUESTS.name)  # A missing broker or topic is told before the first record.
    return producer


def _file_sink(to: str, file: Path, stack: ExitStack) -> EventSink:
    if to == _STDOUT:
        return FileSink(sys.stdout.buffer)
    target = Path(to)
    if target.exists() and file.exists() and target.samefile(file):
        raise ConfigurationError(f"{to} is the file that is read", "Name another file.")
    try:
        return FileSink(stack.enter_context(target.open("wb")))
    except OSError as error:
        raise ConfigurationError(f"{to} cannot be written: {error.strerror}") from error


def _run(run: Replay, items: Iterable[RequestEvent | RejectedLine], limit: int | None, *, quiet: bool) -> bool:
    try:
        run.run(items if quiet else _with_progress(run, items), limit)
    except KeyboardInterrupt:
        return True
    return False


def _with_progress(run: Replay, items: Iterable[RequestEvent | RejectedLine]) -> Iterator[RequestEvent | RejectedLine]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading")
        for place, item in enumerate(items):
            if place % 64 == 0:
                counts = run.counts
                progress.update(task, description=f"{counts.sent:,} sent, {counts.rejected.total():,} rejected")
            yield item


def _tell(counts: ReplayCounts, to: str, closes: bool | None, *, as_json: bool) -> None:
    to_stderr = to == _STDOUT
    if as_json:
        told = counts.as_json() | ({} if closes is None else {"last_hop_closed": closes})
        typer.echo(json.dumps(told), err=to_stderr)
        return
    rate = f", {counts.sent / counts.seconds:,.0f}/s" if counts.seconds else ""
    typer.echo(f"{counts.read:,} read, {counts.sent:,} sent to {to} in {counts.seconds:.1f} s{rate}", err=to_stderr)
    for reason, number in sorted(counts.rejected.items()):
        where = [str(line.line) for line in counts.rejected_lines if line.reason == reason]
        lines = ", ".join(where[:_LINES_SHOWN]) + (", ..." if number > _LINES_SHOWN else "")
        typer.echo(f"{number:,} rejected: {reason} (line {lines})", err=to_stderr)
    if closes is False:
        typer.echo("The last hop is still open: the jobs close it by their own clock.", err=to_stderr)
