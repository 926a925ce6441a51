"""The AsyncAPI document says what the tables say, and every reference in it leads somewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas import asyncapi
from schemas.asyncapi import asyncapi_document
from schemas.records import RECORDS
from schemas.topics import TOPICS

ROOT = Path(asyncapi.__file__).parent
DOCUMENT = asyncapi_document(partitions=64, replication_factor=3)


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for part in node for found in references(part)]
    if isinstance(node, dict):
        here = [node["$ref"]] if "$ref" in node else []
        return here + [found for part in node.values() for found in references(part)]
    return []


def follow(reference: str) -> Any:
    if not reference.startswith("#/"):
        return json.loads((ROOT / reference).read_text(encoding="utf-8"))
    node: Any = DOCUMENT
    for part in reference[2:].split("/"):
        node = node[part]
    return node


def test_every_reference_leads_somewhere() -> None:
    found = references(DOCUMENT)
    assert len(found) > 50
    for reference in found:
        assert follow(reference)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_each_topic_is_a_channel_kept_as_the_broker_is_told(topic: Any) -> None:
    channel = next(one for one in DOCUMENT["channels"].values() if one["address"] == topic.name)
    kafka = channel["bindings"]["kafka"]
    assert kafka["partitions"] == (64 if topic.width == "wide" else 1)
    assert kafka["replicas"] == 3
    told = topic.config()
    for name, value in kafka["topicConfiguration"].items():
        assert told[name] == (value[0] if isinstance(value, list) else str(value))
    assert channel["messages"]


def test_each_topic_has_a_sender_and_a_receiver_or_says_why_not() -> None:
    sent = {topic for names in asyncapi.SENDERS.values() for topic in names}
    received = {topic for names in asyncapi.RECEIVERS.values() for topic in names}
    assert {topic.name for topic in set(TOPICS) - sent} == set()
    # Dead letters are read by people's tools, the OCSF projection by others' systems.
    assert {topic.name for topic in set(TOPICS) - received} == {"alerts.ocsf", "dead-letters"}


def test_each_record_is_a_message_with_its_schema_and_a_type_in_the_headers() -> None:
    messages = DOCUMENT["components"]["messages"]
    types = DOCUMENT["components"]["messageTraits"]["cloudevent"]["headers"]["properties"]["ce_type"]["enum"]
    for kind in RECORDS:
        assert follow(messages[kind.type]["payload"]["$ref"])["$id"] == f"urn:stillwatch:schema:{kind.type}"
        assert f"ai.stillwatch.{kind.type}" in types
        assert kind.struct.__name__.replace("Event", "") in kind.topic.carries.replace("RequestEvent", "Request")
