"""`stillwatch subscribe`: read the alerts topic on a terminal, and manage signed webhooks."""

from __future__ import annotations

import signal
from typing import Annotated, Any, Literal

import typer
from confluent_kafka import Consumer, TopicPartition
from pydantic import BaseModel

from schemas.topics import ALERTS, ALERTS_OCSF
from services import bootstrap
from services.adapters.clock import utc_now
from services.adapters.postgres import webhooks
from services.cli.database import Actor, AsJson, open_session, write_json
from services.subscribers.signing import secret_of
from services.subscribers.targets import find_target

Webhook = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id, as `subscribe list` shows it.")]


class WebhookAnswer(BaseModel):
    """One webhook. The secret is shown when it is made or turned, and never kept."""

    webhook_id: str
    url: str
    template: str
    minimum_severity: str
    active: bool
    generation: int
    created_by: str
    secret: str | None = None


class WebhookList(BaseModel):
    """All of them."""

    items: list[WebhookAnswer]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(help="Read alerts as they come; signed webhooks.", no_args_is_help=True)
    group.command("alerts")(follow)
    group.command("webhook")(add)
    group.command("list")(show)
    group.command("rotate")(rotate)
    group.command("remove")(remove)
    app.add_typer(group, name="subscribe")


def follow(
    *,
    ocsf: Annotated[bool, typer.Option("--ocsf", help="The OCSF projection instead of our own records.")] = False,
    from_start: Annotated[bool, typer.Option("--from-start", help="What the topic still has comes first.")] = False,
    maximum: Annotated[int | None, typer.Option("--max", min=1, help="End after so many.")] = None,
) -> None:
    """Write alerts as JSON lines, one for each revision, until Ctrl-C."""
    topic = ALERTS_OCSF if ocsf else ALERTS
    config = bootstrap.consumer_base(bootstrap.load_settings())
    consumer = Consumer(config | {"group.id": "stillwatch-subscribe", "enable.auto.commit": False})
    # 0 is the first record that is kept, -1 the next one to come.
    place: Any = TopicPartition(topic.name, 0, -2 if from_start else -1)
    consumer.assign([place])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    told = 0
    try:
        while maximum is None or told < maximum:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                typer.echo((message.value() or b"").decode())
                told += 1
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


def add(
    url: Annotated[str, typer.Argument(help="An https address; private ones only where settings allow it.")],
    *,
    actor: Actor,
    template: Annotated[Literal["alert", "ocsf", "slack", "pagerduty"], typer.Option("--template")] = "alert",
    severity: Annotated[
        Literal["low", "medium", "high", "critical"], typer.Option("--severity", help="This and above.")
    ] = "low",
    routing_key: Annotated[str, typer.Option("--routing-key", help="PagerDuty's, for its template.")] = "",
    as_json: AsJson = False,
) -> None:
    """Send alerts to an address, signed; shows the secret once."""
    settings = bootstrap.load_settings()
    find_target(url, allow_private=settings.webhook_private_targets)
    with open_session() as (session, tenant):
        row = webhooks.add_webhook(
            session,
            tenant,
            url=url,
            template=template,
            minimum_severity=severity,
            routing_key=routing_key,
            actor=actor,
            now=utc_now(),
        )
        told = _answer(row, secret_of(bootstrap.webhook_master(settings), row.webhook_id, row.generation))
    _write([told], as_json=as_json)


def show(*, as_json: AsJson = False) -> None:
    """List webhooks."""
    with open_session() as (session, tenant):
        told = [_answer(row, None) for row in webhooks.list_webhooks(session, tenant)]
    _write(told, as_json=as_json)


def rotate(webhook: Webhook, *, actor: Actor, as_json: AsJson = False) -> None:
    """Begin a new secret and show it; the one before signs too for a day."""
    with open_session() as (session, tenant):
        row = webhooks.rotate(session, tenant, webhook, actor=actor, now=utc_now())
        master = bootstrap.webhook_master(bootstrap.load_settings())
        told = _answer(row, secret_of(master, row.webhook_id, row.generation))
    _write([told], as_json=as_json)


def remove(webhook: Webhook, *, actor: Actor) -> None:
    """Send nothing more to an address."""
    with open_session() as (session, tenant):
        webhooks.remove(session, tenant, webhook, actor=actor, now=utc_now())
    typer.echo(f"removed {webhook}")


def _answer(row: Any, secret: str | None) -> WebhookAnswer:
    names = [name for name in WebhookAnswer.model_fields if name != "secret"]
    return WebhookAnswer(**{name: getattr(row, name) for name in names}, secret=secret)


def _write(rows: list[WebhookAnswer], *, as_json: bool) -> None:
    if as_json:
        write_json(WebhookList(items=rows))
        return
    for row in rows:
        typer.echo(f"{row.webhook_id}  {row.template}, {row.minimum_severity} and above, to {row.url}")
        if row.secret is not None:
            typer.echo(f"secret (shown once): {row.secret}")
