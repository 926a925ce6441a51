"""`stillwatch simulate`: sample traffic, with the truth about who harvests, by the same path as a gateway's."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, Literal

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.headers import cloud_event_headers
from schemas.topics import ACCOUNT_ATTRIBUTES, REQUESTS
from services import bootstrap
from services.adapters.clock import SystemClock
from services.adapters.kafka.presence import broker_check
from services.adapters.kafka.producer import KafkaProducer
from services.cli.shared_data import SHARED
from services.errors import ConfigurationError
from services.gateway.accounts import to_attributes
from services.gateway.formats import litellm, openai
from services.gateway.identity import load_identity
from services.gateway.sketching import EventMaker
from services.simulator.corpus import Corpus
from services.simulator.exchange import litellm_payload
from services.simulator.pacing import pace
from services.simulator.population import DAY_MS
from services.simulator.scenarios import SCENARIOS, make_population
from services.simulator.traffic import Traffic
from services.simulator.world.build import ALL_CROWDS, START_MS, World, WorldOptions, choose_recipes, deal
from services.simulator.world.stream import exchanges
from services.telemetry.health import HealthServer
from services.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.simulator.exchange import Exchange
    from services.simulator.population import Population

_KAFKA: Final = "kafka"
_HOUR_MS: Final = 3_600_000
_SOURCE: Final = "/simulator"
_MANY_DAYS: Final = 36_500
_WORLD_DAYS: Final = 3
WORLD: Final = "world"
_WORLD_STORY: Final = "honest archetypes, hard negatives and campaigns by recipe, to a file"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("simulate")(simulate)


def simulate(
    *,
    scenario: Annotated[
        str,
        typer.Option(
            "--scenario",
            help="; ".join(f"{name}: {made.story}" for name, made in SCENARIOS.items()) + f"; {WORLD}: {_WORLD_STORY}",
        ),
    ] = "demo",
    to: Annotated[str, typer.Option("--to", help="kafka, or a file of JSON lines.")] = _KAFKA,
    rate: Annotated[
        float, typer.Option("--rate", min=0.1, help="Requests a second while it catches up with the clock.")
    ] = 1000.0,
    history: Annotated[
        float, typer.Option("--history", min=0, help="Hours of past traffic before live traffic (Kafka).")
    ] = 24.0,
    days: Annotated[
        int | None, typer.Option("--days", min=1, help="Stop after so many days. [default: a file 2, Kafka never]")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed and start give the same records.")] = 1,
    start: Annotated[
        int | None,
        typer.Option("--start-ms", help="First day's start, ms since the epoch. [default: it ends an hour ago]"),
    ] = None,
    format_name: Annotated[
        Literal["openai", "events", "litellm"],
        typer.Option("--format", help="Of a file: pairs with text, events without, or (world) LiteLLM payloads."),
    ] = "openai",
    honest: Annotated[int, typer.Option("--honest", min=20, help="World: honest accounts besides the crowds.")] = 1200,
    lead_days: Annotated[int, typer.Option("--lead-days", min=0, help="World: days before the campaigns.")] = 0,
    prevalence: Annotated[
        float, typer.Option("--prevalence", min=0.0005, max=0.5, help="World: attackers' share of accounts, at most.")
    ] = 0.05,
    recipes: Annotated[
        str, typer.Option("--recipes", help="World: comma-separated, `tuning`, `held-out`, or `none`. [default: all]")
    ] = "",
    crowds: Annotated[
        str, typer.Option("--crowds", help="World: hard negatives, comma-separated, or `none`. [default: all]")
    ] = "",
    truth: Annotated[Path | None, typer.Option("--truth", help="Write who is who: JSON lines.")] = None,
    accounts: Annotated[
        Path | None, typer.Option("--accounts", help="Write the account attributes: JSON lines.")
    ] = None,
    shared: Annotated[
        Path, typer.Option("--shared-data", help="Public prompts to use where the folder is there.")
    ] = SHARED,
    as_json: Annotated[bool, typer.Option("--json", help="Write the counts as JSON.")] = False,
) -> None:
    """Send sample traffic of honest accounts and campaigns.

    To Kafka: the account attributes first, then past traffic as fast as --rate allows, then live traffic when it is
    due, until Ctrl-C. To a file: request and response pairs (or events), with --truth and --accounts beside it.
    """
    if scenario == WORLD:
        options = WorldOptions(
            seed=seed,
            start_ms=START_MS if start is None else start,
            honest=honest,
            days=days or _WORLD_DAYS,
            lead_days=lead_days,
            crowds=ALL_CROWDS if not crowds else tuple(name for name in crowds.split(",") if name != "none"),
            shared=str(shared) if shared.is_dir() else "",
        )
        _simulate_world(options, recipes, prevalence, to, format_name, truth, accounts, as_json=as_json)
        return
    if format_name == "litellm":
        raise ConfigurationError(f"{scenario} is not written as LiteLLM payloads", "Use --scenario world.")
    clock = SystemClock()
    live = to == _KAFKA
    wanted = days or (_MANY_DAYS if live else 2)
    now = clock.now_ms()
    default_start = now - round(history * _HOUR_MS) if live else now - wanted * DAY_MS - _HOUR_MS
    population = make_population(scenario, seed, start if start is not None else default_start)
    corpus = Corpus(shared if shared.is_dir() else None)
    _write_lines(truth, (account.truth() for account in population.accounts))
    _write_lines(accounts, (account.attributes() for account in population.accounts))
    records = Traffic(population, corpus, seed).days(wanted)
    counts = Sent()
    # A supervisor ends its parts with SIGTERM; what is queued still goes out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        if live:
            paced = pace(records, _time_ms, clock, rate)
            run: Iterable[None] = _to_kafka(paced, population, counts)
        else:
            run = _to_file(records, _open(to, stack), format_name, counts)
        interrupted = _run(run, counts, quiet=as_json)
    told = counts.as_json() | {"accounts": len(population.accounts), "corpus": sorted(set(corpus.sources))}
    if as_json:
        typer.echo(json.dumps(told))
    else:
        typer.echo(f"{counts.records:,} requests of {len(counts.senders):,} accounts sent to {to}")
    if interrupted:
        raise typer.Exit(130)


def _simulate_world(
    options: WorldOptions,
    recipes: str,
    prevalence: float,
    to: str,
    format_name: str,
    truth: Path | None,
    accounts: Path | None,
    *,
    as_json: bool,
) -> None:
    if to == _KAFKA or format_name == "openai":
        raise ConfigurationError("a world goes to a file", "Give --to FILE and --format litellm (or events).")
    world = World(options)
    family = recipes if recipes in {"tuning", "held-out"} else "all"
    named = () if family != "all" else tuple(name for name in recipes.split(",") if name)
    chosen = [] if recipes == "none" else choose_recipes(named, family)
    # One file is one run: recipes that do not fit below the prevalence are left for another seed.
    dealt = deal(chosen, len(world.honest.actors), prevalence, options.seed)[:1] or [[]]
    blocks = [world.honest, *(world.campaign(recipe, size) for recipe, size in dealt[0])]
    actors = [actor for block in blocks for actor in block.actors]
    _write_lines(truth, (actor.truth() for actor in actors))
    _write_lines(accounts, (actor.attributes() for actor in actors))
    maker = EventMaker(load_identity(bootstrap.load_settings())) if format_name == "events" else None
    counts = Sent()
    with ExitStack() as stack:
        file = _open(to, stack)
        interrupted = _run(
            _write_exchanges(exchanges(blocks, world.library), maker, file, counts), counts, quiet=as_json
        )
    sources = sorted({*world.library.sources, *world.traces.sources})
    told = counts.as_json() | {"accounts": len(actors), "campaigns": [block.name for block in blocks[1:]]}
    if as_json:
        typer.echo(json.dumps(told | {"corpus": sources}))
    else:
        typer.echo(f"{counts.records:,} requests of {len(counts.senders):,} accounts sent to {to}")
    if interrupted:
        raise typer.Exit(130)


def _write_exchanges(
    made: Iterable[Exchange], maker: EventMaker | None, file: BinaryIO, counts: Sent
) -> Iterator[None]:
    for exchange in made:
        payload = litellm_payload(exchange)
        line = payload if maker is None else maker.to_event(litellm.parse(payload))
        file.write(msgspec.json.encode(line) + b"\n")
        counts.count(exchange.key, exchange.time_ms)
        yield


@dataclass(slots=True)
class Sent:
    """What was sent so far."""

    records: int = 0
    senders: Counter[str] = field(default_factory=Counter)
    last_ms: int = 0

    def add(self, record: dict[str, Any]) -> None:
        """Count one record."""
        self.count(record["api_key"], _time_ms(record))

    def count(self, sender: str, time_ms: int) -> None:
        """Count one request."""
        self.records += 1
        self.senders[sender] += 1
        self.last_ms = time_ms

    def as_json(self) -> dict[str, Any]:
        """Give the counts as a JSON object."""
        return {"requests": self.records, "senders": len(self.senders), "last_time_unix_ms": self.last_ms}


def _to_kafka(records: Iterable[dict[str, Any]], population: Population, counts: Sent) -> Iterator[None]:
    settings = bootstrap.load_settings()
    identity = load_identity(settings)
    producer = KafkaProducer(bootstrap.producer_base(settings))
    producer.partitions(REQUESTS.name)
    maker = EventMaker(identity)
    metrics = Metrics()
    sent = metrics.counter("stillwatch_gateway_events_total", format="simulator")
    # Without a port of its own (a simulator by hand beside a running stack) nobody would know where to look.
    health = None
    if settings.metrics_port:
        checks = {"kafka": broker_check(bootstrap.consumer_base(settings))}
        health = HealthServer(metrics, checks, settings.metrics_host, settings.metrics_port).start()
    for account in population.accounts:
        item = to_attributes(account.attributes(), identity)
        headers = cloud_event_headers(f"{item.account}-0", _SOURCE, "account_attributes.v1", population.start_ms)
        producer.send(ACCOUNT_ATTRIBUTES.name, item.account.encode(), msgspec.json.encode(item), headers)
    producer.flush()
    try:
        for record in records:
            event = maker.to_event(openai.parse(record))
            headers = cloud_event_headers(event.event_id, _SOURCE, "request.v1", event.time_unix_ms)
            producer.send(REQUESTS.name, event.account.encode(), msgspec.json.encode(event), headers)
            counts.add(record)
            sent.inc()
            yield
    finally:
        producer.flush()
        if health is not None:
            health.stop()


def _to_file(records: Iterable[dict[str, Any]], file: BinaryIO, format_name: str, counts: Sent) -> Iterator[None]:
    maker = EventMaker(load_identity(bootstrap.load_settings())) if format_name == "events" else None
    for record in records:
        line = record if maker is None else maker.to_event(openai.parse(record))
        file.write(msgspec.json.encode(line) + b"\n")
        counts.add(record)
        yield


def _run(run: Iterable[None], counts: Sent, *, quiet: bool) -> bool:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    shown = not quiet and sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as progress:
        task = progress.add_task("starting")
        try:
            for place, _ in enumerate(run):
                if place % 64 == 0:
                    progress.update(task, description=f"{counts.records:,} requests")
        except KeyboardInterrupt:
            return True
    return False


def _open(to: str, stack: ExitStack) -> BinaryIO:
    try:
        return stack.enter_context(Path(to).open("wb"))
    except OSError as error:
        raise ConfigurationError(f"{to} cannot be written: {error.strerror}") from error


def _write_lines(path: Path | None, lines: Iterable[dict[str, Any]]) -> None:
    if path is not None:
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def _time_ms(record: dict[str, Any]) -> int:
    started_at: float = record["started_at"]
    return round(started_at * 1000)
