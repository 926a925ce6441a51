"""``stillwatch alerts`` and ``entitlements``: the database from the terminal."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from detection.outcomes import Severity, SubjectKind  # noqa: TC001 - as above
from schemas.label import Verdict  # noqa: TC001 - as above
from services.adapters.clock import utc_now
from services.adapters.postgres import alerts, labelling
from services.adapters.postgres.moments import format_moment
from services.api.models import AlertSummary, LabelAnswer, PageOf, describe_alert
from services.cli import entitlements
from services.cli.database import (
    Actor,
    AsJson,
    Cursor,
    Limit,
    open_session,
    require_words,
    write_json,
    write_table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

TONES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}
AlertId = Annotated[str, typer.Argument(metavar="ALERT")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    listed = typer.Typer(help="List, show, label and export alerts.", no_args_is_help=True)
    listed.command("list")(list_alerts)
    listed.command("show")(show_alert)
    listed.command("label")(label_alert)
    listed.command("export")(export_alerts)
    app.add_typer(listed, name="alerts")
    entitlements.register(app)


def list_alerts(
    *,
    state: Annotated[alerts.State | None, typer.Option("--state")] = None,
    severity: Annotated[Severity | None, typer.Option("--severity")] = None,
    subject_kind: Annotated[SubjectKind | None, typer.Option("--subject-kind")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Alerts that name this account.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List alerts, newest event first."""
    wanted = alerts.AlertFilter(state=state, severity=severity, subject_kind=subject_kind, account=account)
    with open_session() as (session, tenant):
        page = alerts.list_alerts(session, tenant, wanted, limit=limit, cursor=cursor)
        rows = [AlertSummary.model_validate(row) for row in page.rows]
    if as_json:
        write_json(PageOf[AlertSummary](items=rows, next_cursor=page.next_cursor))
        return
    table = Table(box=SIMPLE_HEAD)
    # What a reader types again is never cut off.
    table.add_column("Alert", no_wrap=True, min_width=16)
    for name in ("Severity", "State"):
        table.add_column(name, no_wrap=True)
    table.add_column("What")
    for row in rows:
        facts = f"{row.member_count:,} members, score {row.score:.3f}, first seen {row.event_time:%Y-%m-%d %H:%M}"
        table.add_row(
            row.alert_id,
            f"[{TONES[row.severity]}]{row.severity}[/]",
            row.state,
            f"{escape(row.title)}\n[dim]{facts}[/]",
        )
    write_table(table, page.next_cursor)


def show_alert(alert_id: AlertId, *, as_json: AsJson = False) -> None:
    """Show one alert: why, who, which findings, which labels."""
    with open_session() as (session, tenant):
        alert = describe_alert(alerts.read_alert(session, tenant, alert_id))
    if as_json:
        write_json(alert)
        return
    console = Console(highlight=False)
    console.print(f"[bold]{escape(alert.title)}[/]")
    console.print(
        f"[{TONES[alert.severity]}]{alert.severity}[/] {alert.state}, revision {alert.revision}, "
        f"score {alert.score:.3f}, {alert.member_count:,} members, {alert.requests:,} requests, "
        f"first seen {format_moment(alert.event_time)}"
    )
    why = Table(
        "Feature", "Actual", "Expected", "Part in the score", title="Why", title_justify="left", box=SIMPLE_HEAD
    )
    for part in alert.contributions:
        why.add_row(part.feature, f"{part.actual:.4g}", f"{part.expected:.4g}", f"{part.weight:+.3f}")
    console.print(why)
    who = Table(
        "Account",
        "Customer",
        "Requests",
        "Strength",
        title="Members (strongest)",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for member in alert.members[:20]:
        who.add_row(member.account, member.customer, f"{member.requests:,}", f"{member.strength:.2f}")
    console.print(who)
    for label in alert.labels:
        told = f"by {escape(label.actor)}, {format_moment(label.labelled_at)}: {escape(label.reason)}"
        console.print(f"[bold]{label.verdict}[/] {told}")


def label_alert(
    alert_id: AlertId,
    verdict: Annotated[Verdict, typer.Argument()],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, in your own words.")],
    actor: Actor,
    as_json: AsJson = False,
) -> None:
    """Record a verdict on an alert; it goes to the topic `labels`."""
    require_words(reason, "--reason", longest=2000)
    require_words(actor, "--actor", longest=256)
    wish = labelling.Wish(alert_id=alert_id, verdict=verdict, reason=reason, actor=actor, oversees=True)
    with open_session() as (session, tenant):
        answer = LabelAnswer.model_validate(labelling.label_alert(session, tenant, wish, utc_now()).label)
    if as_json:
        write_json(answer)
    else:
        Console(highlight=False).print(f"{answer.alert_id} is labelled {answer.verdict} by {answer.actor}.")


def export_alerts(
    *,
    kind: Annotated[Literal["jsonl"], typer.Option("--format", help="One record a line.")] = "jsonl",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; else the standard output.")] = None,
) -> None:
    """Write every alert's newest revision: the exact bytes that were stored, by event time, then id."""
    del kind  # There is one; the option says which, and leaves room for others.
    with open_session() as (session, tenant):
        records = alerts.export_records(session, tenant)
        if output is None:
            count = _write_lines(sys.stdout.buffer, records)
        else:
            with output.open("wb") as file:
                count = _write_lines(file, records)
    Console(stderr=True, highlight=False).print(f"{count} alerts")


def _write_lines(file: Any, records: Iterator[bytes]) -> int:
    count = 0
    for record in records:
        file.write(record + b"\n")
        count += 1
    file.flush()
    return count
