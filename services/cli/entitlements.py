"""``stillwatch entitlements``: licences to distil and allowlist entries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from services.adapters.clock import utc_now
from services.adapters.postgres import entitlements, metering
from services.api.models import EntitlementAnswer, PageOf
from services.cli.database import Actor, AsJson, Cursor, Limit, open_session, require_words, write_json, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGITS: Final = 16
_DAY_MS: Final = 86_400_000
Volume = Annotated[int | None, typer.Option("--daily-requests", min=1)]
_FORMATS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    granted = typer.Typer(help="Grant, list and revoke entitlements.", no_args_is_help=True)
    granted.command("add")(add_entitlement)
    granted.command("list")(list_entitlements)
    granted.command("revoke")(revoke_entitlement)
    granted.command("usage")(show_usage)
    app.add_typer(granted, name="entitlements")


def add_entitlement(
    subject: Annotated[str, typer.Argument(help="Keyed identifier of an organisation or account, 16 hex digits.")],
    *,
    until: Annotated[datetime, typer.Option("--until", formats=_FORMATS, help="UTC.")],
    reference: Annotated[str, typer.Option("--reference", help="The contract or the ticket.")],
    actor: Actor,
    since: Annotated[datetime | None, typer.Option("--from", formats=_FORMATS, help="UTC; now when left out.")] = None,
    kind: Annotated[Literal["licence", "allowlist"], typer.Option("--kind")] = "licence",
    subject_kind: Annotated[Literal["account", "organization"], typer.Option("--subject-kind")] = "organization",
    owner: Annotated[str, typer.Option("--owner", help="Who answers for it at your side.")] = "",
    models: Annotated[
        list[str] | None, typer.Option("--model", help="Once for each model; every model if none.")
    ] = None,
    daily_requests: Volume = None,
    daily_tokens: Annotated[int | None, typer.Option("--daily-tokens", min=1, help="Output tokens.")] = None,
    total_requests: Annotated[int | None, typer.Option("--total-requests", min=1)] = None,
    total_tokens: Annotated[int | None, typer.Option("--total-tokens", min=1, help="Output tokens.")] = None,
    grace_days: Annotated[int, typer.Option("--grace-days", min=0, max=90, help="It still holds after its end.")] = 14,
    as_json: AsJson = False,
) -> None:
    """Grant an entitlement; it goes to the topic `entitlements`."""
    if len(subject) != _DIGITS or set(subject) - set("0123456789abcdef"):
        raise typer.BadParameter("an identifier has 16 lower-case hexadecimal digits", param_hint="SUBJECT")
    require_words(reference, "--reference", longest=2000)
    require_words(actor, "--actor", longest=256)
    now = utc_now()
    grant = entitlements.Grant(
        subject_kind=subject_kind,
        subject=subject,
        kind=kind,
        valid_from=since.replace(tzinfo=UTC) if since is not None else now,
        valid_until=until.replace(tzinfo=UTC),
        reference=reference,
        actor=actor,
        owner=owner,
        models=tuple(models) if models else None,
        daily_requests=daily_requests,
        daily_tokens=daily_tokens,
        total_requests=total_requests,
        total_tokens=total_tokens,
        grace_ms=grace_days * _DAY_MS,
    )
    with open_session() as (session, tenant):
        rows = [EntitlementAnswer.model_validate(entitlements.add_entitlement(session, tenant, grant, now))]
    _write(rows, as_json=as_json)


def list_entitlements(
    *,
    subject: Annotated[str | None, typer.Option("--subject")] = None,
    in_force: Annotated[bool, typer.Option("--in-force", help="Only those that hold now.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List entitlements, newest first."""
    moment = utc_now() if in_force else None
    with open_session() as (session, tenant):
        page = entitlements.list_entitlements(
            session, tenant, subject=subject, in_force_at=moment, limit=limit, cursor=cursor
        )
        rows = [EntitlementAnswer.model_validate(row) for row in page.rows]
    _write(rows, as_json=as_json, next_cursor=page.next_cursor)


def revoke_entitlement(
    entitlement_id: Annotated[str, typer.Argument(metavar="ENTITLEMENT")], *, actor: Actor, as_json: AsJson = False
) -> None:
    """Take an entitlement back from now on; again changes nothing."""
    require_words(actor, "--actor", longest=256)
    with open_session() as (session, tenant):
        row = entitlements.revoke_entitlement(session, tenant, entitlement_id, actor=actor, now=utc_now())
        rows = [EntitlementAnswer.model_validate(row)]
    _write(rows, as_json=as_json)


def show_usage(
    entitlement_id: Annotated[str, typer.Argument(metavar="ENTITLEMENT")], *, as_json: AsJson = False
) -> None:
    """Report an entitlement against its use: limits, totals, and the newest days."""
    with open_session() as (session, tenant):
        row = entitlements.find_entitlement(session, tenant, entitlement_id)
        volume = metering.volume_of(session, row, utc_now())
        days = metering.usage_of(session, tenant, entitlement_id)
        owner, models = row.owner, row.models
    told = msgspec.to_builtins(volume) | {"owner": owner, "models": models, "days": msgspec.to_builtins(list(days))}
    if as_json:
        typer.echo(msgspec.json.encode(told).decode())
        return
    for name, value in told.items():
        if name != "days" and value not in {None, ""}:
            typer.echo(f"{name.replace('_', ' ')}: {value:,}" if isinstance(value, int) else f"{name}: {value}")
    for day in days:
        typer.echo(f"{day.day}  {day.requests:>12,} requests  {day.output_tokens:>15,} output tokens")


def _write(rows: Sequence[EntitlementAnswer], *, as_json: bool, next_cursor: str | None = None) -> None:
    if as_json:
        write_json(PageOf[EntitlementAnswer](items=list(rows), next_cursor=next_cursor))
        return
    table = Table(box=SIMPLE_HEAD)
    # What a reader types again is never cut off.
    table.add_column("Entitlement", no_wrap=True, min_width=32)
    table.add_column("What")
    for row in rows:
        held = f"until {row.valid_until:%Y-%m-%d %H:%M}, by {escape(row.created_by)}"
        if row.revoked_at is not None:
            held = f"revoked {row.revoked_at:%Y-%m-%d %H:%M} by {escape(row.revoked_by or '')}"
        table.add_row(
            row.entitlement_id,
            f"{row.kind} for {row.subject_kind} {row.subject}\n{held}\n[dim]{escape(row.reference)}[/]",
        )
    write_table(table, next_cursor)
