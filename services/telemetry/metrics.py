"""The table of metrics: name, kind, labels and meaning. The docs are made from it; nothing else registers one.

Base units, prefix ``stillwatch_``; never an account id as a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()


_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)

METRICS: Final[tuple[Metric, ...]] = (
    Metric("stillwatch_build_info", "gauge", ("version", "config_version"), "1; the labels tell what runs."),
    Metric("stillwatch_check_ready", "gauge", ("check",), "1 while this check of /readyz passes, as of the scrape."),
    Metric("stillwatch_consumer_lag", "gauge", ("job", "topic", "partition"), "Records not yet applied."),
    Metric(
        "stillwatch_kafka_refusals_total",
        "counter",
        ("kind",),
        "What brokers refused this process: authentication, tls, authorization.",
    ),
    Metric("stillwatch_events_total", "counter", ("job",), "Records applied."),
    Metric("stillwatch_late_events_total", "counter", ("job",), "Events after their hop; counted in the open one."),
    Metric(
        "stillwatch_clamped_events_total",
        "counter",
        ("job",),
        "Dead letters whose event time is too far from the broker's append time.",
    ),
    Metric("stillwatch_dead_letters_total", "counter", ("job", "reason"), "Records sent to the dead letters."),
    Metric("stillwatch_closed_hop_time_seconds", "gauge", ("job", "partition"), "Event time of the last closed hop."),
    Metric(
        "stillwatch_pane_delay_seconds",
        "gauge",
        ("job", "partition"),
        "Wall time since the end of the last closed hop; a hop and the lateness at most while traffic is live.",
    ),
    Metric("stillwatch_watermark_holder", "gauge", ("job", "source"), "1 for the source that holds the time back."),
    Metric("stillwatch_state_rows", "gauge", ("job", "partition"), "Rows in memory."),
    Metric("stillwatch_state_evictions_total", "counter", ("job",), "Rows dropped by age or by a bound."),
    Metric("stillwatch_checkpoint_seconds", "histogram", ("job",), "Time of one checkpoint transaction.", _SECONDS),
    Metric("stillwatch_checkpoint_rows_total", "counter", ("job",), "State rows written."),
    Metric("stillwatch_rebalances_total", "counter", ("job", "kind"), "Changes of the assignment: assigned, revoked."),
    Metric("stillwatch_recovery_seconds", "histogram", ("job",), "From an assignment to its first record.", _SECONDS),
    Metric("stillwatch_loop_age_seconds", "gauge", ("job",), "Time since the worker's loop moved, or waited well."),
    Metric("stillwatch_stage_cpu_seconds_total", "counter", ("job", "stage"), "CPU time by stage of the loop."),
    Metric("stillwatch_findings_total", "counter", ("lane", "detector"), "Findings sent."),
    Metric("stillwatch_alerts_total", "counter", ("detector", "severity"), "Alert revisions raised."),
    Metric(
        "stillwatch_suppressed_total",
        "counter",
        ("why",),
        "Findings that raised nothing: cleared (entitled, too few customers) or shadow.",
    ),
    Metric("stillwatch_alert_budget", "gauge", (), "New alerts that an hour of event time may have."),
    Metric("stillwatch_alerts_waiting", "gauge", (), "Incidents that wait for the budget of a later hour."),
    Metric("stillwatch_event_to_alert_seconds", "histogram", (), "From hop end to the row in Postgres.", _SECONDS),
    Metric(
        "stillwatch_alerts_stored_total",
        "counter",
        ("outcome",),
        "Revisions seen: new, grown, known.",
    ),
    Metric("stillwatch_outbox_pending", "gauge", (), "Rows of the outbox that no topic has yet."),
    Metric("stillwatch_outbox_oldest_seconds", "gauge", (), "Age of the oldest of them; 0: none."),
    Metric("stillwatch_database_bytes", "gauge", ("part",), "Size of the database by table with its indexes; rest."),
    Metric("stillwatch_database_connections", "gauge", ("state",), "Sessions of this database: active, idle, other."),
    Metric("stillwatch_database_oldest_transaction_seconds", "gauge", (), "Age of the oldest open transaction."),
    Metric("stillwatch_outbox_relayed_total", "counter", ("topic",), "Rows relayed."),
    Metric("stillwatch_labels_total", "counter", ("verdict",), "Labels seen by the learning job."),
    Metric("stillwatch_label_precision", "gauge", ("detector",), "Share of verdicts that are true positives."),
    Metric("stillwatch_model_live_version", "gauge", ("model",), "Promoted version of the head or the bars; 0: none."),
    Metric(
        "stillwatch_bar", "gauge", ("lane", "stage"), "What a threshold is multiplied with: shadow as proposed, live."
    ),
    Metric("stillwatch_incidents_held", "gauge", ("lane",), "Open incidents below the bar that is live, not raised."),
    Metric("stillwatch_drifts_total", "counter", ("lane",), "Changes of a lane's scores that ADWIN has found."),
    Metric("stillwatch_decisions_total", "counter", ("action", "dry_run"), "Decisions published."),
    Metric("stillwatch_gateway_events_total", "counter", ("format",), "Requests published by a gateway."),
    Metric("stillwatch_gateway_rejects_total", "counter", ("format", "reason"), "Records that are no request."),
    Metric("stillwatch_csp_reports_total", "counter", ("directive",), "Refusals by the content policy, as reported."),
    Metric("stillwatch_gateway_dropped_total", "counter", ("why",), "Requests that no event tells of; wanted: 0."),
    Metric(
        "stillwatch_gateway_failures_total", "counter", ("where",), "Failures of the watching; no response saw one."
    ),
    Metric("stillwatch_gateway_spooled_total", "counter", (), "Events that waited on disk for Kafka."),
    Metric("stillwatch_gateway_waiting", "gauge", ("place",), "Requests or events under way; bytes of the spool."),
    Metric(
        "stillwatch_gateway_rulings_total",
        "counter",
        ("action", "dry_run"),
        "Requests that a decision spoke of, dry runs too.",
    ),
    Metric(
        "stillwatch_gateway_decisions_total",
        "counter",
        ("outcome",),
        "Decision records taken: applied, or the reason why not (docs/decisions.md).",
    ),
    Metric("stillwatch_gateway_enforced_total", "counter", ("action",), "Requests that a decision applied to."),
    Metric(
        "stillwatch_webhook_deliveries_total", "counter", ("outcome",), "Tries of webhooks: delivered, pending, failed."
    ),
    Metric("stillwatch_http_request_seconds", "histogram", ("route", "method", "status"), "API latency.", _SECONDS),
)


class Metrics:
    """The table's metrics on a registry of their own, so that tests and processes never share one."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._by_name: dict[str, Counter | Gauge | Histogram] = {}
        for row in METRICS:
            if row.kind == "counter":
                made: Counter | Gauge | Histogram = Counter(row.name, row.meaning, row.labels, registry=self.registry)
            elif row.kind == "gauge":
                made = Gauge(row.name, row.meaning, row.labels, registry=self.registry)
            else:
                made = Histogram(row.name, row.meaning, row.labels, registry=self.registry, buckets=row.buckets)
            self._by_name[row.name] = made

    def counter(self, name: str, **labels: str) -> Counter:
        """Give a counter of the table; raises KeyError where the table has none of this name."""
        metric = self._by_name[name]
        if not isinstance(metric, Counter):
            raise KeyError(f"{name} is not a counter")
        return metric.labels(**labels) if labels else metric

    def gauge(self, name: str, **labels: str) -> Gauge:
        """Give a gauge of the table; raises KeyError where the table has none of this name."""
        metric = self._by_name[name]
        if not isinstance(metric, Gauge):
            raise KeyError(f"{name} is not a gauge")
        return metric.labels(**labels) if labels else metric

    def histogram(self, name: str, **labels: str) -> Histogram:
        """Give a histogram of the table; raises KeyError where the table has none of this name."""
        metric = self._by_name[name]
        if not isinstance(metric, Histogram):
            raise KeyError(f"{name} is not a histogram")
        return metric.labels(**labels) if labels else metric
