"""``stillwatch decisions``: what gateways are told, who approved it, and the kill switch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from services import bootstrap
from services.adapters.clock import utc_now
from services.adapters.postgres import decision_rows, decisions
from services.api.decision_models import DecisionAnswer
from services.api.models import PageOf
from services.cli.database import Actor, AsJson, Cursor, Limit, open_session, require_words, write_json, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGITS: Final = 16
_HOUR_MS: Final = 3_600_000
State = Literal["proposed", "approved", "issued", "rejected", "superseded"]
Action = Literal["allow", "observe", "throttle", "trim", "challenge", "block"]
Decision = Annotated[str, typer.Argument(metavar="DECISION", help="Its id, as `decisions list` shows it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; goes into the audit.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(help="List, propose, approve and revoke decisions; the kill switch.", no_args_is_help=True)
    group.command("list")(list_decisions)
    group.command("propose")(propose)
    group.command("approve")(approve)
    group.command("reject")(reject)
    group.command("revoke")(revoke)
    group.command("kill-switch")(kill_switch)
    group.command("keys")(show_keys)
    app.add_typer(group, name="decisions")


def list_decisions(
    *,
    state: Annotated[State | None, typer.Option("--state")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Account, organisation or alert.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List decisions and proposals, newest first."""
    with open_session() as (session, tenant):
        page = decision_rows.list_decisions(session, tenant, state=state, subject=subject, limit=limit, cursor=cursor)
        rows = [DecisionAnswer.of(row) for row in page.rows]
    _write(rows, as_json=as_json, next_cursor=page.next_cursor)


def propose(
    subject: Annotated[str, typer.Argument(help="Keyed identifier of an account or organisation, 16 hex digits.")],
    action: Annotated[Action, typer.Argument()],
    *,
    reason: Reason,
    actor: Actor,
    subject_kind: Annotated[Literal["account", "organization"], typer.Option("--subject-kind")] = "account",
    hours: Annotated[int, typer.Option("--hours", min=1, max=2160, help="Every decision ends.")] = 168,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it and do not enforce it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Propose a decision; a lead who is not its proposer approves it."""
    if len(subject) != _DIGITS or set(subject) - set("0123456789abcdef"):
        raise typer.BadParameter("an identifier has 16 lower-case hexadecimal digits", param_hint="SUBJECT")
    require_words(reason, "--reason", longest=2000)
    require_words(actor, "--actor", longest=256)
    wish = decisions.Wish(
        subject_kind=subject_kind,
        subject=subject,
        action=action,
        reason=reason,
        actor=actor,
        lifetime_ms=hours * _HOUR_MS,
        dry_run=dry_run,
    )
    with open_session() as (session, tenant):
        rows = [DecisionAnswer.of(decisions.propose_by_person(session, tenant, wish, utc_now()))]
    _write(rows, as_json=as_json)


def approve(decision: Decision, *, actor: Actor, as_json: AsJson = False) -> None:
    """Approve a proposal: it is signed and sent within a second."""
    require_words(actor, "--actor", longest=256)
    with open_session() as (session, tenant):
        rows = [DecisionAnswer.of(decisions.approve(session, tenant, decision, actor=actor, now=utc_now()))]
    _write(rows, as_json=as_json)


def reject(decision: Decision, *, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """Turn a proposal down."""
    require_words(reason, "--reason", longest=2000)
    with open_session() as (session, tenant):
        row = decisions.reject(session, tenant, decision, actor=actor, reason=reason, now=utc_now())
        rows = [DecisionAnswer.of(row)]
    _write(rows, as_json=as_json)


def revoke(decision: Decision, *, reason: Reason, actor: Actor, as_json: AsJson = False) -> None:
    """Take a decision back: its subject is only watched from now on."""
    require_words(reason, "--reason", longest=2000)
    with open_session() as (session, tenant):
        row = decisions.revoke(session, tenant, decision, actor=actor, reason=reason, now=utc_now())
        rows = [DecisionAnswer.of(row)]
    _write(rows, as_json=as_json)


def kill_switch(
    position: Annotated[Literal["on", "off"], typer.Argument(help="on: no gateway restricts anybody.")] = "on",
    *,
    reason: Reason,
    actor: Actor,
    as_json: AsJson = False,
) -> None:
    """Stop every gateway from restricting anybody, or let them restrict again."""
    require_words(reason, "--reason", longest=2000)
    with open_session() as (session, tenant):
        row = decisions.set_kill_switch(
            session, tenant, engaged=position == "on", actor=actor, reason=reason, now=utc_now()
        )
        rows = [DecisionAnswer.of(row)]
    _write(rows, as_json=as_json)


def show_keys(*, as_json: AsJson = False) -> None:
    """Print the public key that gateways need in STILLWATCH_DECISION_PUBLIC_KEYS."""
    signer = bootstrap.load_signer(bootstrap.load_settings())
    told = {"key_id": signer.key_id, "public_key": signer.public.hex()}
    typer.echo(json.dumps(told) if as_json else "\n".join(f"{name}: {value}" for name, value in told.items()))


def _write(rows: Sequence[DecisionAnswer], *, as_json: bool, next_cursor: str | None = None) -> None:
    if as_json:
        write_json(PageOf[DecisionAnswer](items=list(rows), next_cursor=next_cursor))
        return
    table = Table(box=SIMPLE_HEAD)
    # What a reader types again is never cut off.
    table.add_column("Decision", no_wrap=True, min_width=32)
    table.add_column("What")
    for row in rows:
        who = f"{row.subject_kind} {row.subject}" + (f" ({row.accounts:,} accounts)" if row.accounts > 1 else "")
        ends = f"until {row.expires_at:%Y-%m-%d %H:%M}" if row.expires_at is not None else "not issued"
        tried = ", dry run" if row.dry_run else ""
        by = f"proposed by {escape(row.proposed_by)}"
        by += f", decided by {escape(row.decided_by)}" if row.decided_by is not None else ", waits for a lead"
        why = escape(row.reason or " ".join(row.reason_codes))
        table.add_row(row.decision_id, f"{row.action} for {who}\n{row.state}{tried}, {ends}; {by}\n[dim]{why}[/]")
    write_table(table, next_cursor)
