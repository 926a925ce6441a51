"""What differs between the topics table and a cluster, as values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.topics import LABELS, REQUESTS, TOPICS
from services.adapters.kafka.topics import ClusterTopics, Difference, FoundTopic, compare
from services.errors import NotRunningError

GOOD = {
    topic.name: FoundTopic(8 if topic.width == "wide" else 1, 1, {**topic.config(), "retention.bytes": "-1"})
    for topic in TOPICS
}


def test_a_cluster_as_the_table_says_has_no_difference() -> None:
    assert compare(TOPICS, GOOD, partitions=8, replication_factor=1) == []


def test_an_empty_cluster_misses_every_topic() -> None:
    differences = compare(TOPICS, {}, partitions=8, replication_factor=1)
    assert [each.topic for each in differences] == [topic.name for topic in TOPICS]
    assert {each.kind for each in differences} == {"missing"}


def test_every_kind_of_difference_is_named() -> None:
    settings = {**REQUESTS.config(), "retention.ms": "5"}
    del settings["cleanup.policy"]
    found = {**GOOD, "requests": FoundTopic(3, 2, settings)}
    assert compare(TOPICS, found, partitions=8, replication_factor=1) == [
        Difference("requests", "partitions", "", "8", "3"),
        Difference("requests", "replicas", "", "1", "2"),
        Difference("requests", "setting", "cleanup.policy", "delete", "unset"),
        Difference("requests", "setting", "retention.ms", "604800000", "5"),
    ]


def test_narrow_topics_keep_one_partition_whatever_the_width() -> None:
    found = {"labels": replace(GOOD["labels"], partitions=64)}
    assert compare([LABELS], found, partitions=64, replication_factor=1) == [
        Difference("labels", "partitions", "", "1", "64")
    ]


@pytest.mark.enable_socket
def test_a_silent_broker_is_told_within_the_time() -> None:
    cluster = ClusterTopics({"bootstrap.servers": "127.0.0.1:1"}, TOPICS, 8, 1, timeout=0.3)
    with pytest.raises(NotRunningError, match=r"no Kafka broker answered at 127\.0\.0\.1:1 within 0\.3 s"):
        cluster.differences()
