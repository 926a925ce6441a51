"""``stillwatch users`` and ``api-keys``: who may use console and API, by the operator's own right to the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.adapters.clock import utc_now
from services.api.admin_models import IssuedKeyAnswer, KeyAnswer, UserAnswer
from services.api.models import PageOf
from services.cli.database import Actor, AsJson, Cursor, Limit, open_session, write_json, write_table
from services.identity import keys, people
from services.identity.roles import ROLES
from services.identity.tokens import new_password

Name = Annotated[str, typer.Argument(metavar="NAME")]
Roles = Annotated[list[str], typer.Option("--role", help=f"One of {', '.join(ROLES)}; again for more.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    users = typer.Typer(help="Who may sign in, and in which roles.", no_args_is_help=True)
    users.command("list")(list_users)
    users.command("add")(add_user)
    users.command("first-admin")(first_admin)
    users.command("roles")(set_roles)
    users.command("password")(set_password)
    users.command("disable")(disable)
    users.command("enable")(enable)
    app.add_typer(users, name="users")
    machines = typer.Typer(help="Keys for machines: issue, list and revoke.", no_args_is_help=True)
    machines.command("issue")(issue_key)
    machines.command("list")(list_keys)
    machines.command("revoke")(revoke_key)
    app.add_typer(machines, name="api-keys")


def list_users(*, as_json: AsJson = False) -> None:
    """List every user, disabled ones too."""
    with open_session() as (session, tenant):
        rows = [UserAnswer.model_validate(row) for row in people.list_users(session, tenant)]
    if as_json:
        write_json(PageOf[UserAnswer](items=rows))
        return
    table = Table("Name", "Roles", "Since", "", box=SIMPLE_HEAD)
    for row in rows:
        note = "disabled" if row.disabled_at else (row.issuer or "")
        table.add_row(escape(row.name), ", ".join(row.roles), f"{row.created_at:%Y-%m-%d}", note)
    write_table(table, None)


def add_user(name: Name, *, role: Roles, actor: Actor, as_json: AsJson = False) -> None:
    """Add a person. The password is made here and shown once."""
    password = new_password()
    with open_session() as (session, tenant):
        row = people.add_user(session, tenant, name, roles=role, password=password, by=actor, now=utc_now())
        answer = UserAnswer.model_validate(row)
    _tell_password(answer, password, as_json=as_json)


def first_admin(*, as_json: AsJson = False) -> None:
    """Add `admin` with every role, where there is no user yet. The password is shown once."""
    with open_session() as (session, tenant):
        password = people.ensure_first_admin(session, tenant, utc_now())
        answer = UserAnswer.model_validate(people.find_user(session, tenant, people.FIRST_ADMIN)) if password else None
    if answer is None or password is None:
        Console(highlight=False).print("There are users already; `stillwatch users password NAME` sets another one.")
        return
    _tell_password(answer, password, as_json=as_json)


def set_roles(name: Name, *, role: Roles, actor: Actor, as_json: AsJson = False) -> None:
    """Give a person these roles and no others."""
    with open_session() as (session, tenant):
        answer = UserAnswer.model_validate(people.set_roles(session, tenant, name, role, by=actor, now=utc_now()))
    _tell(answer, as_json=as_json)


def set_password(name: Name, *, actor: Actor, as_json: AsJson = False) -> None:
    """Make a new password, shown once; the person's sessions end."""
    password = new_password()
    with open_session() as (session, tenant):
        row = people.set_password(session, tenant, name, password, by=actor, now=utc_now())
        answer = UserAnswer.model_validate(row)
    _tell_password(answer, password, as_json=as_json)


def disable(name: Name, *, actor: Actor, as_json: AsJson = False) -> None:
    """Let a person in no more, at once."""
    _set_disabled(name, disabled=True, actor=actor, as_json=as_json)


def enable(name: Name, *, actor: Actor, as_json: AsJson = False) -> None:
    """Let a person in again."""
    _set_disabled(name, disabled=False, actor=actor, as_json=as_json)


def issue_key(
    name: Name,
    *,
    scope: Annotated[list[str], typer.Option("--scope", help="A permission, as in alerts.read; again for more.")],
    days: Annotated[int, typer.Option("--days", min=1, max=400, help="It ends after so many.")] = 90,
    actor: Actor,
    as_json: AsJson = False,
) -> None:
    """Make a key for a machine, shown once."""
    now = utc_now()
    with open_session() as (session, tenant):
        row, key = keys.issue_key(
            session,
            tenant,
            name,
            scopes=scope,
            allowed=keys.FOR_MACHINES,
            expires_at=now + timedelta(days=days),
            by=actor,
            now=now,
        )
        answer = IssuedKeyAnswer(**KeyAnswer.model_validate(row).model_dump(), key=key)
    if as_json:
        write_json(answer)
    else:
        Console(highlight=False, soft_wrap=True).print(f"{answer.key_id}: {key}\nIt is not shown again.")


def list_keys(*, limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List keys for machines, newest first, ended ones too."""
    with open_session() as (session, tenant):
        page = keys.list_keys(session, tenant, limit=limit, cursor=cursor)
        rows = [KeyAnswer.model_validate(row) for row in page.rows]
    if as_json:
        write_json(PageOf[KeyAnswer](items=rows, next_cursor=page.next_cursor))
        return
    table = Table("Key", "Name", "Scopes", "Until", "", box=SIMPLE_HEAD)
    for row in rows:
        note = "revoked" if row.revoked_at else ("never used" if row.used_at is None else "used")
        table.add_row(row.key_id, escape(row.name), ", ".join(row.scopes), f"{row.expires_at:%Y-%m-%d}", note)
    write_table(table, page.next_cursor)


def revoke_key(key_id: Annotated[str, typer.Argument(metavar="KEY")], *, actor: Actor, as_json: AsJson = False) -> None:
    """End a key from now on; again changes nothing."""
    with open_session() as (session, tenant):
        answer = KeyAnswer.model_validate(keys.revoke_key(session, tenant, key_id, by=actor, now=utc_now()))
    if as_json:
        write_json(answer)
    else:
        Console(highlight=False).print(f"{answer.key_id} is revoked.")


def _set_disabled(name: str, *, disabled: bool, actor: str, as_json: bool) -> None:
    with open_session() as (session, tenant):
        row = people.set_disabled(session, tenant, name, disabled=disabled, by=actor, now=utc_now())
        answer = UserAnswer.model_validate(row)
    _tell(answer, as_json=as_json)


def _tell(answer: UserAnswer, *, as_json: bool) -> None:
    if as_json:
        write_json(answer)
        return
    state = "disabled" if answer.disabled_at else ", ".join(answer.roles) or "without a role"
    Console(highlight=False).print(f"{answer.name} is {state}.")


def _tell_password(answer: UserAnswer, password: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(answer.model_copy().model_dump_json()[:-1] + f', "password": "{password}"}}')
        return
    Console(highlight=False, soft_wrap=True).print(f"{answer.name} / {escape(password)}\nIt is not shown again.")
