"""`stillwatch accounts import`: what the operator's own database knows of accounts, into Kafka."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path  # noqa: TC003 - Typer reads the annotation
from typing import Annotated

import msgspec
import typer

from schemas.headers import cloud_event_headers
from schemas.topics import ACCOUNT_ATTRIBUTES
from services import bootstrap
from services.adapters.clock import SystemClock
from services.adapters.kafka.producer import KafkaProducer
from services.errors import StillwatchError
from services.gateway.accounts import read_accounts
from services.gateway.identity import load_identity
from services.gateway.keys.topic import attach_links
from services.gateway.sources import RejectedLine


class NothingToImportError(StillwatchError):
    """No record of the file tells of an account."""

    hint = "Each line is a JSON object with `account`; see `stillwatch accounts import --help`."


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    accounts = typer.Typer(help="What is known of accounts besides their requests.", no_args_is_help=True)
    accounts.callback()(_accounts)
    accounts.command("import")(import_accounts)
    app.add_typer(accounts, name="accounts")


def _accounts() -> None:
    """Hold the sub-commands; its help is the group's."""


def import_accounts(
    file: Annotated[Path, typer.Argument(help="JSON lines: account, created_at, organization, verified, ...")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Write the counts as JSON.")] = False,
) -> None:
    """Import account attributes: creation time, organisation, verification, payment, sign-up address.

    One JSON object a line: account (as the gateway's records name it), created_at (RFC 3339 or epoch seconds),
    organization, verified, payment, signup_ip. Values are keyed before they leave this process. A later import of an
    account replaces the earlier one.
    """
    settings = bootstrap.load_settings()
    producer = KafkaProducer(bootstrap.producer_base(settings))
    producer.partitions(ACCOUNT_ATTRIBUTES.name)
    now_ms = SystemClock().now_ms()
    rejected: Counter[str] = Counter()
    lines: list[RejectedLine] = []
    sent = 0
    identity = load_identity(settings)
    attach_links(identity, settings, bootstrap.bootstrap_servers(settings))
    for item in read_accounts(file, identity):
        if isinstance(item, RejectedLine):
            rejected[item.reason] += 1
            lines.append(item)
            continue
        headers = cloud_event_headers(f"{item.account}-{now_ms}", "/accounts/import", "account_attributes.v1", now_ms)
        producer.send(ACCOUNT_ATTRIBUTES.name, item.account.encode("ascii"), msgspec.json.encode(item), headers)
        sent += 1
    producer.flush()
    if as_json:
        typer.echo(
            json.dumps({"read": sent + rejected.total(), "sent": sent, "rejected": dict(sorted(rejected.items()))})
        )
    else:
        typer.echo(f"{sent + rejected.total():,} read, {sent:,} sent to {ACCOUNT_ATTRIBUTES.name}")
        for line in lines[:20]:
            typer.echo(f"line {line.line} rejected: {line.reason} ({line.detail})")
    if lines and not sent:
        raise NothingToImportError(f"none of the {len(lines)} records of {file} tells of an account")
