"""The subscribers' loop: each alert to its OCSF projection and into the outbox, then what is due goes out.

Offsets are committed when the projection is at the broker and the outbox is committed, so a crash repeats both: the
projection has the alert's id and revision, and the outbox takes an event once for each webhook. Deliveries arrive at
least once, with the event's id in a header.
"""

from __future__ import annotations

import http.client
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from confluent_kafka import KafkaException, TopicPartition
from sqlalchemy.orm import Session

from detection.outcomes import SEVERITIES
from schemas import ocsf
from schemas.alert import decode_alert
from schemas.topics import ALERTS, ALERTS_OCSF
from services.adapters.kafka.batches import good_records, next_batch
from services.adapters.kafka.dead_letters import DeliveryError
from services.adapters.postgres import webhooks
from services.adapters.postgres.moments import EPOCH, to_unix_ms
from services.adapters.retry import Backoff, Stopped, keep_trying
from services.subscribers.signing import HEADER, secret_of, signature
from services.subscribers.targets import TargetRefusedError, find_target, post
from services.subscribers.templates import body_of
from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    import random
    import threading
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from confluent_kafka import Consumer, Message, Producer
    from sqlalchemy import Engine

    from detection.outcomes import Alert
    from services.adapters.clock import Clock
    from services.adapters.postgres.webhook_tables import WebhookRow
    from services.telemetry.metrics import Metrics

JOB: Final = "subscribers"
_GONE: Final = 410
_DELIVERY_SECONDS: Final = 30.0
_DELIVERIES: Final = 20  # Between two looks at the topic.


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``link_base`` is the console's address, "" for no links; ``seconds`` bounds the wait for an answer."""

    tenant: str
    version: str
    master: bytes
    allow_private: bool = False
    link_base: str = ""
    seconds: float = 10.0
    batch: int = 100
    poll_seconds: float = 1.0
    backoff: Backoff = field(default_factory=Backoff)


class Subscribers:
    """One consumer's work. ``run`` returns when ``stop`` is set."""

    def __init__(
        self,
        consumer: Consumer,
        producer: Producer,
        engine: Engine,
        metrics: Metrics,
        clock: Clock,
        rng: random.Random,
        options: Options,
        stop: threading.Event,
    ) -> None:
        self._consumer = consumer
        self._producer = producer
        self._engine = engine
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._options = options
        self._stop = stop
        self.assigned = False

    def run(self) -> None:
        """Work until told to stop."""
        self._consumer.subscribe([ALERTS.name], on_assign=self._on_assign)
        try:
            while not self._stop.is_set():
                messages = next_batch(self._consumer, self._options.batch, self._options.poll_seconds)
                good = good_records(messages)
                if good:
                    self._take(good)
                for _ in range(_DELIVERIES):
                    if self._stop.is_set() or not self.deliver_one():
                        break
        except Stopped:
            get_logger().info("subscribers.stopped_while_waiting")

    def deliver_one(self) -> bool:
        """Try the delivery that has waited longest; False where none is due."""
        due = keep_trying(self._transact(webhooks.take_due), self._stop, self._options.backoff, "take delivery")
        if due is None:
            return False
        outcome, delivered, give_up = self._post(due)
        jitter = self._rng.random()

        def settle(session: Session, tenant: str, now: datetime) -> str:
            return webhooks.settle(
                session, tenant, due, outcome=outcome, delivered=delivered, give_up=give_up, jitter=jitter, now=now
            )

        state = keep_trying(self._transact(settle), self._stop, self._options.backoff, "settle delivery")
        self._metrics.counter("stillwatch_webhook_deliveries_total", outcome=state).inc()
        get_logger().info("webhook.tried", webhook=due.webhook.webhook_id, state=state, outcome=outcome)
        return True

    def _post(self, due: webhooks.Due) -> tuple[str, bool, bool]:
        """Send; gives what came of it, whether it arrived, and whether to give up."""
        now = self._now()
        names = webhooks.generations(due.webhook, now)
        secrets = [secret_of(self._options.master, due.webhook.webhook_id, name) for name in names]
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"Stillwatch/{self._options.version}",
            "Stillwatch-Delivery": due.delivery_id,
            HEADER: signature(secrets, due.body, to_unix_ms(now) // 1000),
        }
        try:
            target = find_target(due.webhook.url, allow_private=self._options.allow_private)
            status = post(target, due.body, headers, self._options.seconds)
        except TargetRefusedError:
            return "refused", False, False
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__, False, False
        return str(status), 200 <= status < 300, status == _GONE  # noqa: PLR2004 - what HTTP calls success

    def _take(self, messages: Sequence[Message]) -> None:
        alerts = [alert for message in messages if (alert := self._read(message)) is not None]
        self._project(alerts)

        def enqueue(session: Session, tenant: str, now: datetime) -> None:
            subscribed = [row for row in webhooks.list_webhooks(session, tenant) if row.active]
            for alert in alerts:
                for row in subscribed:
                    if _wanted(row, alert):
                        event = f"{alert.alert_id}.{alert.revision}"
                        webhooks.enqueue(session, row, event, self._body(row, alert), now)

        keep_trying(self._transact(enqueue), self._stop, self._options.backoff, "enqueue")
        last = messages[-1]
        place: Any = TopicPartition(str(last.topic()), int(last.partition() or 0), int(last.offset() or 0) + 1)
        try:
            self._consumer.commit(offsets=[place], asynchronous=False)
        except KafkaException as error:
            # The broker was away for longer than the session: what was told is told again, under the same ids.
            get_logger().warning("sink.commit_deferred", error=error.args[0].name())

    def _read(self, message: Message) -> Alert | None:
        try:
            return decode_alert(message.value() or b"")
        except msgspec.DecodeError:
            # The sink owns the topic's dead letters.
            get_logger().warning("subscribers.skipped", topic=message.topic(), offset=message.offset())
            return None

    def _project(self, alerts: Sequence[Alert]) -> None:
        failed: list[str] = []

        def note(error: Any, _message: object) -> None:
            if error is not None:
                failed.append(str(error.name()))

        for alert in alerts:
            headers: list[tuple[str, str | bytes | None]] = [
                ("ce_specversion", b"1.0"),
                ("ce_id", f"ocsf.{alert.alert_id}.{alert.revision}".encode()),
                ("ce_source", b"stillwatch/subscribers"),
                ("ce_type", b"ai.stillwatch.ocsf.2004"),
                ("ce_time", alert.updated_time.encode()),
                ("content-type", b"application/json"),
            ]
            value = ocsf.encode(alert, self._options.version)
            self._producer.produce(ALERTS_OCSF.name, value, alert.alert_id.encode(), headers=headers, on_delivery=note)
        left = self._producer.flush(_DELIVERY_SECONDS)
        if failed or left:
            raise DeliveryError(f"{len(failed) + left} projections were not delivered")

    def _body(self, row: WebhookRow, alert: Alert) -> bytes:
        link = f"{self._options.link_base}/alerts/{alert.alert_id}" if self._options.link_base else ""
        template: Any = row.template
        return body_of(template, alert, version=self._options.version, link=link, routing_key=row.routing_key)

    def _transact(self, act: Callable[[Session, str, datetime], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                return act(session, self._options.tenant, self._now())

        return run

    def _on_assign(self, _consumer: Consumer, _places: Sequence[TopicPartition]) -> None:
        self.assigned = True

    def _now(self) -> datetime:
        return EPOCH + timedelta(milliseconds=self._clock.now_ms())


def _wanted(row: WebhookRow, alert: Alert) -> bool:
    least = next(place for place, name in enumerate(SEVERITIES) if name == row.minimum_severity)
    return SEVERITIES.index(alert.severity) >= least
