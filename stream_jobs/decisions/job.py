"""Labels in, Decision v1 out, on the compacted topic ``decisions``, keyed by account: the newest stands.

The policy is pure (``detection.policy.decisions``); ids and times come from the label, so redelivery repeats bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from detection.policy.decisions import decide
from schemas.decision import Decision
from schemas.headers import binary_headers
from schemas.label import Label
from schemas.topics import DECISIONS
from services.telemetry.logs import get_logger
from stream_jobs.faust_host.alerts_view import AlertsView
from stream_jobs.faust_host.labels import SCHEMA, UNKNOWN_ALERT, read_label
from stream_jobs.faust_host.ports import Outgoing
from stream_jobs.faust_host.views import EntitlementsView

if TYPE_CHECKING:
    from detection.config import DecisionPolicy
    from detection.policy.decisions import Enforcement
    from schemas.alert import Alert
    from stream_jobs.faust_host.ports import Ports, Record

NAME: Final = "decisions"
SOURCE: Final = "stillwatch/decisions"

_encoder = msgspec.json.Encoder()


class DecisionsJob:
    """The job on its ports; see ``StreamJob``."""

    def __init__(self, ports: Ports, policy: DecisionPolicy) -> None:
        self._ports = ports
        self._policy = policy
        self._alerts: AlertsView[Alert] = AlertsView(ports.log, self._strong)
        self._entitlements = EntitlementsView(ports.log)

    async def open(self) -> None:
        """Forget what was read: it is read again when a label asks for it."""
        self._alerts = AlertsView(self._ports.log, self._strong)
        self._entitlements = EntitlementsView(self._ports.log)

    async def handle(self, record: Record) -> None:
        """Publish the decisions that a label asks for."""
        read = read_label(record)
        if not isinstance(read[0], Label):
            await self._ports.dead_letters.reject(record, read[0], str(read[1]), SCHEMA)
        else:
            await self._decide(record, read[0], int(read[1]))
        self._ports.line.finish(record)

    async def tick(self) -> None:
        """Nothing waits for time."""

    async def drain(self) -> None:
        """Nothing is held back."""

    async def _decide(self, record: Record, label: Label, time_ms: int) -> None:
        alert = await self._alerts.find(label.alert_id, label.alert_revision)
        if alert is None:
            await self._ports.dead_letters.reject(record, *UNKNOWN_ALERT, SCHEMA)
            return
        await self._entitlements.catch_up()
        decisions = decide(
            alert,
            label.verdict,
            label.label_id,
            time_ms,
            lambda member: self._entitlements.covers(member.account, member.customer, time_ms),
            self._policy,
        )
        await self._ports.outbox.send([_outgoing(each) for each in decisions])
        for each in decisions:
            self._ports.metrics.counter(
                "stillwatch_decisions_total", action=each.action, dry_run=str(each.dry_run).lower()
            ).inc()
        get_logger().info("label.decided", label=label.label_id, decisions=len(decisions), dry_run=self._policy.dry_run)

    def _strong(self, alert: Alert) -> Alert:
        """Keep the members that a decision may name, and neither evidence nor findings."""
        members = [member for member in alert.members if member.strength >= self._policy.minimum_strength]
        return msgspec.structs.replace(alert, members=members, contributions=[], findings=[])


def _outgoing(each: Enforcement) -> Outgoing:
    decision = Decision(**msgspec.structs.asdict(each))
    return Outgoing(DECISIONS, each.account.encode(), _encoder.encode(decision), binary_headers(decision, SOURCE, 0))
