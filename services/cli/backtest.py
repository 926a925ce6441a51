"""`stillwatch backtest | references build`: the detector on recorded traffic, without Kafka."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from detection.pools.learning import propose
from schemas.account_attributes import AccountAttributes
from schemas.request_event import RequestEvent
from services import bootstrap
from services.errors import ConfigurationError, StillwatchError
from services.evaluation.backtest import Backtest, count_rejects, last_revisions, write_alerts
from services.evaluation.heads import read_bars, read_head
from services.evaluation.references import build_account_reference, build_references
from services.evaluation.report import tell_evaluation
from services.evaluation.truth import Evaluation, Requests, evaluate, read_truth
from services.gateway.accounts import read_accounts
from services.gateway.identity import load_identity
from services.gateway.sources import Format, open_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from detection.detectors.reference import References
    from detection.outcomes import Alert
    from services.settings import Settings

FormatName = Format
File = Annotated[Path, typer.Argument(help="JSON lines, a JSON array, or the CSV of the Azure traces.")]
FormatOption = Annotated[FormatName, typer.Option("--format", help="Whose records these are.")]
AccountsOption = Annotated[
    Path | None, typer.Option("--accounts", help="Account attributes: JSON lines, as `accounts import` takes them.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write the counts and figures as JSON.")]


class NothingToTestError(StillwatchError):
    """No record of the file is a request of the format that was named."""

    hint = "Check --format; `stillwatch backtest --help` lists the formats."


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("backtest")(backtest)
    references = typer.Typer(help="What honest traffic looks like: made on purpose, promoted by a person.")
    references.callback()(_references)
    references.command("build")(build)
    references.command("propose")(propose_references)
    app.add_typer(references, name="references")


def _references() -> None:
    """Hold the sub-commands; its help is the group's."""


def backtest(
    file: File,
    *,
    format_name: FormatOption,
    alerts: Annotated[Path, typer.Option("--alerts", help="Write the alerts: one JSON line each, its last revision.")],
    id_map: Annotated[
        Path | None, typer.Option("--id-map", help="Write the map from raw account values to the product's ids.")
    ] = None,
    accounts: AccountsOption = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Compare with who is who: JSON lines of account, campaign, recipe.")
    ] = None,
    revisions: Annotated[Path | None, typer.Option("--revisions", help="Write every revision of every alert.")] = None,
    partitions: Annotated[
        int | None, typer.Option("--partitions", min=1, help="As the cluster's topics. [default: the setting]")
    ] = None,
    head: Annotated[
        Path | None, typer.Option("--head", help="Order alerts by this head too, as `models export` writes it.")
    ] = None,
    bars: Annotated[
        Path | None,
        typer.Option("--bars", help="Hold back what lies below these bars, as `models export` writes them."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the detector over recorded traffic, without Kafka.

    The alerts are those that the live path would raise, byte for byte, with the same number of partitions.
    Text and raw identifiers are sketched and keyed on the way, as at a gateway; the id map is the only place where both
    stand side by side, so keep it where the raw values may be.
    """
    settings = bootstrap.load_settings()
    references = bootstrap.load_references(settings)
    if references is None:
        raise ConfigurationError(
            "there are no references, so nothing can be scored",
            "Build them from honest traffic with `stillwatch references build`, and set STILLWATCH_REFERENCES.",
        )
    requests = Requests() if truth is not None else None
    config = bootstrap.load_detection_config(settings)
    run = Backtest(config, references, partitions or settings.partitions, requests, read_head(head), read_bars(bars))
    ids: dict[str, str] = {}
    rejects: Counter[str] = Counter()
    began = time.process_time()
    raised = list(_play(run, settings, file, format_name, accounts, ids, rejects, quiet=as_json))
    seconds = time.process_time() - began
    if not run.counts.events:
        raise NothingToTestError(f"no record of {file} is a request of {format_name}")
    write_alerts(alerts, last_revisions(raised))
    if revisions is not None:
        write_alerts(revisions, raised)
    if id_map is not None:
        id_map.write_text(json.dumps(ids, indent=0, sort_keys=True), encoding="utf-8")
    judged = None
    if truth is not None and requests is not None:
        span = run.counts.last_ms - run.counts.first_ms
        judged = evaluate(raised, read_truth(truth), ids, requests.by_account(), span)
    counts = {
        **msgspec.to_builtins(run.counts),
        "rejected": dict(sorted(rejects.items())),
        "cpu_seconds": round(seconds, 2),
        "references": references.version,
    }
    _tell(counts, judged, f"alerts in {alerts}", as_json=as_json)


def build(
    files: Annotated[list[Path], typer.Argument(help="Honest traffic; each file is a run of its own.")],
    *,
    format_name: FormatOption,
    out: Annotated[Path, typer.Option("--out", help="Write the references here.")],
    accounts: Annotated[
        list[Path] | None, typer.Option("--accounts", help="Account attributes, one file for each file of traffic.")
    ] = None,
    alone: Annotated[
        list[Path] | None,
        typer.Option("--accounts-only", help="Honest traffic of one operator's groups: pools learn nothing of it."),
    ] = None,
    version: Annotated[str, typer.Option("--version", help="Names the set in whatever cites it.")] = "local",
    partitions: Annotated[
        int | None, typer.Option("--partitions", min=1, help="As the cluster's topics. [default: the setting]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build references from honest traffic. A harvest in it would become the norm: look at what you feed it."""
    if accounts and len(accounts) != len(files):
        raise ConfigurationError("--accounts was given for some files only", "Give it once for each file, or not.")
    settings = bootstrap.load_settings()
    config = bootstrap.load_detection_config(settings)
    vectors, pools = [], []
    rejects: Counter[str] = Counter()
    events = 0
    for place, file in enumerate([*files, *(alone or [])]):
        run = Backtest(config, None, partitions or settings.partitions)
        told = accounts[place] if accounts and place < len(files) else None
        list(_play(run, settings, file, format_name, told, {}, rejects, quiet=as_json))
        events += run.counts.events
        vectors += run.pipeline.account_vectors
        if place < len(files):
            pools += run.pipeline.pool_vectors
    if not events:
        raise NothingToTestError(f"no record is a request of {format_name}")
    references = build_references(version, vectors, pools)
    out.write_bytes(references.to_json())
    counts = {"events": events, "rejected": dict(sorted(rejects.items())), **_sizes(references)}
    _tell(counts, None, f"references {version} in {out}", as_json=as_json)


def propose_references(
    file: File,
    *,
    format_name: FormatOption,
    out: Annotated[Path, typer.Option("--out", help="Write the proposal here; it is used once a person names it.")],
    accounts: AccountsOption = None,
    version: Annotated[str, typer.Option("--version", help="Names the set in whatever cites it.")] = "proposed",
    partitions: Annotated[
        int | None, typer.Option("--partitions", min=1, help="As the cluster's topics. [default: the setting]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Learn references from traffic that may hold attackers, beside those in use.

    What these find suspicious teaches nothing, nor what shares customers with it; what a customer can teach is capped;
    and a stratum whose middle moved far is reported as drift and not taken over. A person decides about the result.
    """
    settings = bootstrap.load_settings()
    config = bootstrap.load_detection_config(settings)
    used = bootstrap.load_references(settings)
    if used is None:
        raise ConfigurationError(
            "there are no references to learn beside", "Build the first ones from honest traffic: `references build`."
        )
    run = Backtest(config, None, partitions or settings.partitions)
    rejects: Counter[str] = Counter()
    list(_play(run, settings, file, format_name, accounts, {}, rejects, quiet=as_json))
    if not run.counts.events:
        raise NothingToTestError(f"no record of {file} is a request of {format_name}")
    vectors, pools = run.pipeline.account_vectors, run.pipeline.pool_vectors
    proposal = propose(version, vectors, pools, used, config, build_account_reference)
    out.write_bytes(proposal.references.to_json())
    counts = {
        "events": run.counts.events,
        "rejected": dict(sorted(rejects.items())),
        "trimmed": proposal.trimmed,
        "overlapping": proposal.overlapping,
        "capped": proposal.capped,
        "drift": proposal.drift,
        "refused": list(proposal.refused),
    }
    _tell(counts, None, f"proposed references {version} in {out}", as_json=as_json)


def _play(
    run: Backtest,
    settings: Settings,
    file: Path,
    format_name: FormatName,
    accounts: Path | None,
    ids: dict[str, str],
    rejects: Counter[str],
    *,
    quiet: bool,
) -> Iterator[Alert]:
    identity = load_identity(settings)
    if accounts is not None:
        told = [item for item in read_accounts(accounts, identity) if isinstance(item, AccountAttributes)]
        run.tell(told)
    items = open_source(file, format_name, identity, accounts=ids)
    events = count_rejects(items, RequestEvent, rejects)
    yield from run.run(events if quiet else _with_progress(events, run, rejects))


def _with_progress(events: Iterable[RequestEvent], run: Backtest, rejects: Counter[str]) -> Iterator[RequestEvent]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading")
        for number, event in enumerate(events, start=1):
            if number % 1000 == 0:
                words = f"{number:,} events, {rejects.total():,} rejected, {run.counts.alerts:,} alerts"
                progress.update(task, description=words)
            yield event


def _sizes(references: References) -> dict[str, Any]:
    return {
        "accounts": {str(milestone): one.count for milestone, one in references.accounts.items()},
        "pools": {name: one.count for name, one in references.pools.items()},
    }


def _tell(counts: dict[str, Any], judged: Evaluation | None, done: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(counts | ({} if judged is None else {"evaluation": msgspec.to_builtins(judged)})))
        return
    for name, value in counts.items():
        typer.echo(f"{name.replace('_', ' ')}: {value:,}" if isinstance(value, int) else f"{name}: {value}")
    if judged is not None:
        tell_evaluation(judged, Console())
    typer.echo(done)
