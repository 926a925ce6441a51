"""``stillwatch forget``: erase an organisation or an account, and show what is left of it and until when.

Exit codes: 0 done, and everything that is left has an end; 8 something is left that has none.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from services import bootstrap
from services.adapters.clock import utc_now
from services.adapters.kafka.producer import KafkaProducer
from services.adapters.postgres import forgetting, migrate
from services.adapters.postgres.moments import format_moment
from services.cli.database import Actor, AsJson, open_engine, require_words
from services.cli.forgetting import IN_FORCE, Place, TopicSearch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Engine

    from schemas.topics import Topic
    from services.adapters.postgres.forgetting import Forgotten
    from services.settings import Settings

LEFT: Final = 8
_HEX: Final = 16
_DIGEST: Final = 32
_STANDS: Final = "should be gone: run `stillwatch forget`"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("forget")(forget)


def forget(
    *,
    actor: Actor,
    organisation: Annotated[
        str, typer.Option("--organisation", help="Keyed identifier, 16 hex digits; its accounts go with it.")
    ] = "",
    account: Annotated[str, typer.Option("--account", help="Keyed identifier of one account, 16 hex digits.")] = "",
    verify: Annotated[bool, typer.Option("--verify", help="Only look what is left, and until when.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look what would be erased, and erase nothing.")] = False,
    logs: Annotated[
        bool, typer.Option("--logs/--no-logs", help="Read the topics too that a retention empties: all their records.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Erase an organisation or an account, and show what is left of it.

    In the database a random pseudonym takes the identifier's place; keys of compacted topics are deleted. Logs go by
    retention and the jobs' states by age: each is listed with its end. Exit code 8: something is left without an end.
    """
    kind, subject = ("organization", organisation) if organisation else ("account", account)
    if bool(organisation) == bool(account):
        raise typer.BadParameter("name one of the two", param_hint="--organisation or --account")
    if not forgetting.IDENTIFIER.fullmatch(subject):
        raise typer.BadParameter(
            "an identifier has 16 lower-case hexadecimal digits",
            param_hint="--organisation" if organisation else "--account",
        )
    require_words(actor, "--actor", longest=256)
    settings, now = bootstrap.load_settings(), utc_now()
    config = bootstrap.load_detection_config(settings)
    told: dict[str, Any] = {}
    with open_engine() as engine:
        migrate.require_head(engine)
        with closing(TopicSearch(bootstrap.consumer_base(settings), config, now, logs=logs)) as search:
            names = {subject}
            if organisation:
                with engine.connect() as connection:
                    names |= forgetting.accounts_of(connection, settings.tenant, subject)
                names |= search.accounts_of(subject)
            told["accounts"] = sorted(names - {subject}) if dry_run else len(names - {subject})
            keys = [] if verify else search.deletable(names)
            if not (verify or dry_run):
                told |= _erase(
                    engine, settings, names, keys, actor=actor, named=_named(settings, kind, subject), now=now
                )
            elif dry_run:
                told["would_delete"] = _by_topic(keys)
            with engine.begin() as connection:
                rows = forgetting.search(connection, settings.tenant, names, now)
                when = forgetting.when_forgotten(connection, settings.tenant, _named(settings, kind, subject))
            places = [_of_table(row) for row in rows] + list(search.places(names))
    told["forgotten_at"] = [format_moment(moment) for moment in when]
    _write(told, places, dry_run=dry_run, as_json=as_json)
    if any(place.wrong for place in places) and not dry_run:
        raise typer.Exit(LEFT)


def _erase(
    engine: Engine,
    settings: Settings,
    names: set[str],
    keys: Sequence[tuple[Topic, bytes]],
    *,
    actor: str,
    named: str,
    now: datetime,
) -> dict[str, Any]:
    """Delete keys, then change rows: a crash in between leaves a database from which the rest is found again."""
    with engine.begin() as connection:
        forgetting.require_free(connection, settings.tenant, names, now)
    if keys:
        producer = KafkaProducer(bootstrap.producer_base(settings))
        for topic, key in keys:
            producer.send(topic.name, key, None)
        producer.flush()
    deleted = _by_topic(keys)
    with engine.begin() as connection:
        pseudonyms = {name: secrets.token_hex(_HEX // 2) for name in names}
        done: Forgotten = forgetting.forget(connection, settings.tenant, pseudonyms, now)
        about = {"accounts": len(names) - 1, "deleted": deleted}
        forgetting.tell(connection, settings.tenant, done, actor=actor, subject=named, now=now, **about)
    return {"deleted": deleted, "rows": done.rows, "audit_rows": len(done.audit)}


def _named(settings: Settings, kind: str, subject: str) -> str:
    """Name a subject in the audit so that only who knows the identifier, and holds the key, can find it there."""
    key = bootstrap.console_secret(settings, "forget")
    digest = hmac.digest(key, f"{settings.tenant}/{kind}/{subject}".encode(), "sha256").hex()
    return f"forgotten/{digest[:_DIGEST]}"


def _by_topic(keys: Sequence[tuple[Topic, bytes]]) -> dict[str, int]:
    names = [topic.name for topic, _ in keys]
    return {name: names.count(name) for name in sorted(set(names))}


def _of_table(row: forgetting.Standing) -> Place:
    return Place("table", row.table, row.rows, row.until, _STANDS if row.until is None else IN_FORCE)


def _write(told: dict[str, Any], places: Sequence[Place], *, dry_run: bool, as_json: bool) -> None:
    clean = not any(place.wrong for place in places)
    if as_json:
        listed = [
            {
                "kind": place.kind,
                "name": place.name,
                "records": place.records,
                "until": None if place.until is None else format_moment(place.until),
                "why": place.why,
            }
            for place in places
        ]
        sys.stdout.write(json.dumps(told | {"places": listed, "clean": clean}, indent=2) + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    for name, value in told.items():
        if value:
            console.print(f"{name.replace('_', ' ')}: {_words(value)}")
    table = Table("Where", "Records", "Until", "Why", box=SIMPLE_HEAD)
    for place in places:
        until = "-" if place.until is None else f"{place.until:%Y-%m-%d %H:%M}"
        table.add_row(
            f"{place.kind} {place.name}", "-" if place.records is None else f"{place.records:,}", until, place.why
        )
    Console(highlight=False).print(table)
    if dry_run:
        console.print("Nothing was erased.")
    elif clean:
        console.print("Nothing is left without an end.")
    else:
        console.print("Something is left without an end.")


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
