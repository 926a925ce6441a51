"""The AsyncAPI 3 document: channels from the topics table, messages from the records table, who sends and receives.

Payloads refer to the files in ``schemas/json``. Binary topics are listed for operators and carry no schema.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from schemas import topics
from schemas.access import ACCESS
from schemas.headers import TYPE_PREFIX
from schemas.records import RECORDS, RecordKind
from schemas.topics import TOPICS, Topic

VERSION: Final = "1.0.0"
BINDING: Final = "0.5.0"
_BANNER: Final = "# Made by `make contracts` from schemas/topics.py and schemas/records.py; change those, not this.\n"
_INTRODUCTION: Final = (
    "Topics of Stillwatch. Records are JSON (closed schemas, version in the field `type`) unless their content type "
    "says otherwise. CloudEvents 1.0 in binary mode: attributes in headers, data in the value. Producers use the "
    "murmur2 partitioner of the Java client. What the accounts and pools jobs write stands in transactions: read it "
    "with isolation.level=read_committed. Partition counts are those of one machine; clusters choose theirs."
)

SENDERS: Final[dict[str, tuple[Topic, ...]]] = {one.process: one.writes for one in ACCESS if one.writes}
RECEIVERS: Final[dict[str, tuple[Topic, ...]]] = {one.process: one.reads for one in ACCESS if one.reads}
_BINARY: Final[dict[Topic, tuple[str, str]]] = {
    topics.KEY_LINKS: ("application/octet-stream", "A pair of ids under two keys, sealed; gateways alone can read it."),
    topics.POOL_CONTRIBUTIONS: ("application/x-msgpack", "Contribution block: rows of numbers, merged by hop."),
    topics.ACCOUNTS_STATE: ("application/octet-stream", "A state row or the partition's meta row; the changelog."),
    topics.POOLS_STATE: ("application/octet-stream", "A state row or the partition's meta row; the changelog."),
    topics.INCIDENTS_STATE: ("application/x-msgpack", "A part of the incidents job's state, compressed."),
}
_VENDOR: Final[dict[Topic, str]] = {
    topics.ALERTS_OCSF: "An alert as OCSF 1.7 Detection Finding, class_uid 2004; schemas/ocsf.py makes it.",
    **{topic: f"{topic.carries[0].upper()}{topic.carries[1:]}. Holds text." for topic in topics.RAW_TOPICS},
}


def asyncapi_document(partitions: int = 8, replication_factor: int = 1) -> dict[str, Any]:
    """Build the document for a given width of the wide topics."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Stillwatch",
            "version": VERSION,
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "localhost:9092",
                "protocol": "kafka",
                "protocolVersion": "4.3",
                "description": "The brokers; STILLWATCH_KAFKA_BOOTSTRAP_SERVERS names them.",
            }
        },
        "channels": {_slug(topic.name): _channel(topic, partitions, replication_factor) for topic in TOPICS},
        "operations": _operations(),
        "components": {
            "messages": {kind.type: _message(kind) for kind in RECORDS} | _opaque_messages(),
            "messageTraits": {"cloudevent": {"headers": _headers()}},
        },
    }


def asyncapi_yaml() -> str:
    """Give the document as YAML; equal tables give equal text."""
    return _BANNER + yaml.safe_dump(asyncapi_document(), sort_keys=False, width=120, allow_unicode=True)


def _slug(name: str) -> str:
    return name.replace(".", "-")


def _message_names(topic: Topic) -> list[str]:
    return [kind.type for kind in RECORDS if kind.topic is topic] or [_slug(topic.name)]


def _channel(topic: Topic, partitions: int, replication_factor: int) -> dict[str, Any]:
    config = topic.config()
    configuration: dict[str, Any] = {
        "cleanup.policy": [topic.cleanup],
        "retention.ms": topic.retention_ms,
        "max.message.bytes": topic.maximum_bytes,
    }
    if "delete.retention.ms" in config:
        configuration["delete.retention.ms"] = int(config["delete.retention.ms"])
    return {
        "address": topic.name,
        "description": f"Carries {topic.carries}. Key: {topic.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _message_names(topic)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": partitions if topic.width == "wide" else 1,
                "replicas": replication_factor,
                "topicConfiguration": configuration,
                "bindingVersion": BINDING,
            }
        },
    }


def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for action, table in (("send", SENDERS), ("receive", RECEIVERS)):
        for part, names in table.items():
            for topic in names:
                slug = _slug(topic.name)
                operations[f"{part}-{action}-{slug}"] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{slug}"},
                    "summary": f"{part} {'sends to' if action == 'send' else 'receives from'} {topic.name}.",
                    "messages": [{"$ref": f"#/channels/{slug}/messages/{name}"} for name in _message_names(topic)],
                    "tags": [{"name": part}],
                }
    return operations


def _message(kind: RecordKind) -> dict[str, Any]:
    keyed = kind.topic.key != "none" and kind.type != "heartbeat.v1"
    message: dict[str, Any] = {
        "name": kind.type,
        "title": kind.struct.__name__,
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "payload": {"$ref": f"./json/{kind.file_name}"},
    }
    if keyed:
        key = {"type": "string", "description": kind.topic.key}
        message["bindings"] = {"kafka": {"key": key, "bindingVersion": BINDING}}
    return message


def _opaque_messages() -> dict[str, Any]:
    binary = {
        _slug(topic.name): {"name": _slug(topic.name), "contentType": content, "summary": summary}
        for topic, (content, summary) in _BINARY.items()
    }
    vendor = {
        _slug(topic.name): {"name": _slug(topic.name), "contentType": "application/json", "summary": summary}
        for topic, summary in _VENDOR.items()
    }
    return binary | vendor


def _headers() -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string", "minLength": 1, "description": "Idempotency key."},
        "ce_source": {"type": "string", "minLength": 1, "description": "The sender, for example stillwatch/gateway."},
        "ce_type": {"type": "string", "enum": [f"{TYPE_PREFIX}{kind.type}" for kind in RECORDS]},
        "ce_time": {"type": "string", "format": "date-time"},
        "content-type": {"type": "string", "const": "application/json"},
        "traceparent": {"type": "string", "description": "W3C Trace Context, where the sender makes spans."},
    }
    return {"type": "object", "properties": attributes, "required": ["ce_specversion", "ce_id", "ce_source", "ce_type"]}
