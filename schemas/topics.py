"""The topics table: every topic that Stillwatch reads or writes, and how the broker keeps it. Nothing else creates one.

Every topic stamps the broker's append time, so that retention counts from arrival and event times can be clamped
against it. Job state has the partitions of what it is the state of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Cleanup = Literal["delete", "compact"]
Width = Literal["wide", "one"]
_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the table. ``retention_ms`` -1 keeps for ever. ``wide`` topics take the configured partition count."""

    name: str
    key: str
    carries: str
    width: Width
    cleanup: Cleanup
    retention_ms: int
    maximum_bytes: int = 1 << 20

    def config(self) -> dict[str, str]:
        """Give the broker's settings for this topic."""
        settings = {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.maximum_bytes),
            "message.timestamp.type": "LogAppendTime",
            "compression.type": "producer",
        }
        if self.cleanup == "compact":
            settings |= {
                "min.cleanable.dirty.ratio": "0.3",
                "segment.ms": str(_HOUR),
                "segment.bytes": str(64 << 20),
                "delete.retention.ms": str(_DAY),
                # What was replaced or deleted is gone from the disk after a day, however little else is written.
                "max.compaction.lag.ms": str(_DAY),
            }
        elif self.retention_ms > 0:
            # The broker deletes whole segments by their newest record: a record outlives its retention by a segment's
            # span, which is a week unless it is set.
            settings["segment.ms"] = str(min(self.retention_ms // 4, _DAY))
        return settings


REQUESTS: Final = Topic("requests", "account", "RequestEvent v1, Heartbeat v1", "wide", "delete", 7 * _DAY)
# Vendors' records as they come, on the gateway's side of the boundary: they hold text, so they stay for an hour.
_RAW: Final[dict[str, str]] = {
    "litellm": "LiteLLM's StandardLoggingPayload",
    "openai": "an OpenAI-compatible request and response",
    "apisix": "a record of APISIX's kafka-logger",
    "kong": "a record, or a batch, of Kong's http-log",
    "envoy": "a line of Envoy AI Gateway's access log",
    "otlp": "an export of OpenTelemetry logs in JSON",
    "helicone": "a Helicone-style request and response",
    "jsonl": "a plain record of one request",
}
RAW_TOPICS: Final = tuple(
    Topic(
        f"requests.raw.{source}",
        "none",
        f"{what}; on the gateway's side of the boundary",
        "wide",
        "delete",
        _HOUR,
        8 << 20,
    )
    for source, what in _RAW.items()
)


def raw_topic(source: str) -> Topic:
    """Give the topic of a vendor's records; raises KeyError where there is none."""
    return dict(zip(_RAW, RAW_TOPICS, strict=True))[source]


RAW_LITELLM: Final = raw_topic("litellm")
RAW_OPENAI: Final = raw_topic("openai")
ACCOUNT_ATTRIBUTES: Final = Topic("account-attributes", "account", "AccountAttributes v1", "wide", "compact", -1)
ACCOUNT_WINDOWS: Final = Topic("account-windows", "account", "AccountWindow v1", "wide", "delete", 14 * _DAY)
POOL_CONTRIBUTIONS: Final = Topic(
    "pool-contributions",
    "none (the pool's partition is explicit)",
    "contribution blocks",
    "wide",
    "delete",
    4 * _DAY,
    4 << 20,
)
FINDINGS: Final = Topic("findings", "subject", "Finding v1, SourceClosed v1", "one", "delete", 14 * _DAY, 4 << 20)
ALERTS: Final = Topic("alerts", "alert_id", "Alert v1", "one", "delete", 90 * _DAY, 8 << 20)
ALERTS_OCSF: Final = Topic(
    "alerts.ocsf", "alert_id", "OCSF Detection Finding (class 2004)", "one", "delete", 90 * _DAY, 8 << 20
)
# A label teaches while its alert is there to be read; what lies longer only names who it was about.
LABELS: Final = Topic("labels", "alert_id", "Label v1", "one", "delete", 400 * _DAY)
DECISIONS: Final = Topic("decisions", "subject kind:subject", "Decision v1", "wide", "compact", -1, 8 << 20)
MODELS: Final = Topic("models", "model/stage", "ModelVersion v1", "one", "compact", -1)
ENTITLEMENTS: Final = Topic("entitlements", "subject", "Entitlement v1", "one", "compact", -1)
KEY_LINKS: Final = Topic(
    "key-links", "keyed name of the pair", "pairs of ids, sealed at the gateway", "one", "compact", -1
)
DEAD_LETTERS: Final = Topic("dead-letters", "topic", "DeadLetter v1", "one", "delete", 14 * _DAY)
ACCOUNTS_STATE: Final = Topic("accounts-state", "row", "account rows and one meta row", "wide", "compact", -1, 4 << 20)
POOLS_STATE: Final = Topic(
    "pools-state", "row", "pool rows, member rows and one meta row", "wide", "compact", -1, 4 << 20
)
INCIDENTS_STATE: Final = Topic(
    "incidents-state", "slot and part", "parts of the incidents job's state", "one", "compact", -1, 8 << 20
)

TOPICS: Final[tuple[Topic, ...]] = (
    REQUESTS,
    *RAW_TOPICS,
    ACCOUNT_ATTRIBUTES,
    ACCOUNT_WINDOWS,
    POOL_CONTRIBUTIONS,
    FINDINGS,
    ALERTS,
    ALERTS_OCSF,
    LABELS,
    DECISIONS,
    MODELS,
    ENTITLEMENTS,
    KEY_LINKS,
    DEAD_LETTERS,
    ACCOUNTS_STATE,
    POOLS_STATE,
    INCIDENTS_STATE,
)
