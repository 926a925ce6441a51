"""The issuer's loop: alerts and labels become proposals, and what is approved becomes signed records.

One transaction holds a batch's proposals and what they issue; offsets are committed after it. A proposal's id is a
function of the alert's revision and of the label, so what comes twice is known. People's approvals and the kill switch
come through the database and are issued within one poll. While the database is away nothing is lost and nothing is
decided: gateways go on with what they have until it expires.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from confluent_kafka import KafkaException, TopicPartition
from sqlalchemy import select
from sqlalchemy.orm import Session

from detection.policy.decisions import meanwhile, propose
from schemas.alert import decode_alert
from schemas.label import Label
from schemas.topics import ALERTS, LABELS
from services.adapters.kafka.batches import good_records, next_batch
from services.adapters.postgres import decision_rows, decisions, issuing, licences
from services.adapters.postgres.moments import EPOCH, to_unix_ms
from services.adapters.postgres.tables import AlertRevisionRow
from services.adapters.retry import Backoff, Stopped, keep_trying
from services.telemetry.logs import get_logger
from services.telemetry.spans import NO_SPANS, TRACEPARENT, traceparent_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from confluent_kafka import Consumer, Message
    from sqlalchemy import Engine

    from detection.config import DecisionPolicy
    from detection.outcomes import Alert, Member
    from detection.policy.decisions import Licence
    from services.adapters.clock import Clock
    from services.adapters.postgres.tables import DecisionRow
    from services.adapters.signatures import Signer
    from services.telemetry.metrics import Metrics
    from services.telemetry.spans import Spans

JOB: Final = "decisions"
_label: Final = msgspec.json.Decoder(Label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``poll_seconds`` bounds how long an approval waits to be issued; an alert ends the wait at once."""

    tenant: str
    policy: DecisionPolicy
    batch: int = 50
    poll_seconds: float = 0.5
    backoff: Backoff = field(default_factory=Backoff)


class Issuer:
    """One consumer's work. ``run`` returns when ``stop`` is set."""

    def __init__(
        self,
        consumer: Consumer,
        engine: Engine,
        signer: Signer,
        metrics: Metrics,
        clock: Clock,
        options: Options,
        stop: threading.Event,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._spans = spans
        self._parents: dict[str, str] = {}  # Of the batch's alerts, the trace that each is part of.
        self._consumer = consumer
        self._engine = engine
        self._signer = signer
        self._metrics = metrics
        self._clock = clock
        self._options = options
        self._stop = stop
        self.assigned = False

    def run(self) -> None:
        """Work until told to stop."""
        self._consumer.subscribe([ALERTS.name, LABELS.name], on_assign=self._on_assign)
        try:
            while not self._stop.is_set():
                messages = next_batch(self._consumer, self._options.batch, self._options.poll_seconds)
                good = good_records(messages)
                keep_trying(self._work(good), self._stop, self._options.backoff, "decide")
                self._commit(good)
        except Stopped:
            get_logger().info("decisions.stopped_while_waiting")

    def _on_assign(self, _consumer: Consumer, _places: Sequence[TopicPartition]) -> None:
        self.assigned = True

    def _work(self, messages: Sequence[Message]) -> Callable[[], None]:
        def act() -> None:
            self._parents.clear()
            with Session(self._engine) as session, session.begin():
                for message in messages:
                    self._take(session, message)
                if not issuing.has_approved(session, self._options.tenant):
                    return
                issued = issuing.issue_approved(
                    session, self._options.tenant, self._signer, self._options.policy, self._now(), self._trace
                )
            self._report(issued)

        return act

    def _take(self, session: Session, message: Message) -> None:
        try:
            if message.topic() == ALERTS.name:
                alert = decode_alert(message.value() or b"")
                if self._spans.on:
                    self._parents[alert.alert_id] = traceparent_of(message.headers())
                self._decide(session, alert, None)
            else:
                self._judge(session, _label.decode(message.value() or b""))
        except msgspec.DecodeError:
            # The sink and the learning job own these topics' dead letters.
            get_logger().warning("decisions.skipped", topic=message.topic(), offset=message.offset())

    def _trace(self, row: DecisionRow) -> dict[str, str]:
        """Give the header of a decision's record: its alert's trace goes on, or one begins where a person approved."""
        if not self._spans.on:
            return {}
        parent = self._parents.get(row.evidence_id, "")
        span = self._spans.start("issue decision", "producer", parent=parent, alert=row.evidence_id)
        span.end(action=row.action, dry_run=row.dry_run)
        return {TRACEPARENT: span.traceparent}

    def _judge(self, session: Session, label: Label) -> None:
        record = session.scalars(
            select(AlertRevisionRow.record).where(
                AlertRevisionRow.tenant == self._options.tenant,
                AlertRevisionRow.alert_id == label.alert_id,
                AlertRevisionRow.revision == label.alert_revision,
            )
        ).first()
        if record is None:
            get_logger().warning("decisions.skipped", label=label.label_id)
            return
        self._decide(session, decode_alert(record), label)

    def _decide(self, session: Session, alert: Alert, label: Label | None) -> None:
        tenant, now = self._options.tenant, self._now()
        subject = alert.alert_id if alert.subject_kind == "campaign" else alert.subject
        standing = decision_rows.in_force(session, tenant, alert.subject_kind, subject, now)
        proposal = propose(
            alert,
            verdict=None if label is None else label.verdict,
            now_ms=to_unix_ms(now),
            licence=self._licence(session, alert, now),
            in_force=standing,
            policy=self._options.policy,
        )
        if proposal is None:
            return
        source = decisions.Source(
            revision=alert.revision,
            label_id="" if label is None else label.label_id,
            judge="" if label is None else label.actor,
        )
        first = meanwhile(proposal, standing, self._options.policy)
        waiting = decisions.Source(revision=alert.revision, label_id=f"{source.label_id}/meanwhile", judge=source.judge)
        for each, told in ((first, waiting), (proposal, source)):
            row = None if each is None else decisions.propose_by_policy(session, tenant, each, told, now)
            if row is None:
                continue
            get_logger().info("decision.proposed", decision=row.decision_id, action=row.action, state=row.state)

    def _licence(self, session: Session, alert: Alert, now: datetime) -> Callable[[Member], Licence]:
        names = {name for member in alert.members for name in (member.account, member.customer)}
        known = licences.licences_of(session, self._options.tenant, names, now, self._options.policy.lapse_ms)

        def licence(member: Member) -> Licence:
            return licences.strongest(known, (member.account, member.customer))

        return licence

    def _report(self, issued: Sequence[issuing.Issued]) -> None:
        for each in issued:
            labels = {"action": each.action, "dry_run": str(each.dry_run).lower()}
            self._metrics.counter("stillwatch_decisions_total", **labels).inc()
        if issued:
            get_logger().info("decisions.issued", decisions=len(issued), last_sequence=issued[-1].sequence)

    def _commit(self, messages: Sequence[Message]) -> None:
        ends: dict[tuple[str, int], int] = {}
        for message in messages:
            ends[str(message.topic()), int(message.partition() or 0)] = int(message.offset() or 0) + 1
        places: list[Any] = [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
        if places:
            try:
                self._consumer.commit(offsets=places, asynchronous=False)
            except KafkaException as error:
                get_logger().warning("sink.commit_deferred", error=error.args[0].name())

    def _now(self) -> datetime:
        return EPOCH + timedelta(milliseconds=self._clock.now_ms())
