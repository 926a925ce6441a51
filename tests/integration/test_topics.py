"""``stillwatch topics`` on a real broker: create, show drift, mend it, refuse what would move keys."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import typer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)
from typer.testing import CliRunner

from schemas.topics import Topic
from services.adapters.kafka.topics import ClusterTopics, PartitionCountError, TopicsError
from services.bootstrap import load_settings
from services.cli import topics as command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.integration

# Names of this module's own: the run's broker is shared with every other test.
WIDE = Topic("topics-test.wide", "account", "nothing", "wide", "delete", 3_600_000)
NARROW = Topic("topics-test.narrow", "account", "nothing", "one", "compact", -1)
OTHER = Topic("topics-test.other", "account", "nothing", "wide", "delete", 60_000)


def cluster(kafka: Any, *topics: Topic, partitions: int = 3) -> ClusterTopics:
    return ClusterTopics({"bootstrap.servers": kafka.bootstrap_servers}, topics, partitions, 1, timeout=30)


@pytest.fixture
def admin(kafka: Any) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka.bootstrap_servers})


@pytest.fixture(autouse=True)
def topics_of_this_test_only(admin: AdminClient) -> Iterator[None]:
    yield
    there = set(admin.list_topics(timeout=10).topics)
    mine = [name for name in there if name.startswith("topics-test.")]
    if mine:
        for future in admin.delete_topics(mine, operation_timeout=10).values():
            future.result()
        eventually(lambda: set(mine) & set(admin.list_topics(timeout=10).topics), set())


def eventually(look: Callable[[], object], wanted: object) -> None:
    """What the controller has acknowledged, the broker shows a moment later."""
    deadline = time.monotonic() + 10
    while (seen := look()) != wanted:
        assert time.monotonic() < deadline, f"still {seen}, not {wanted}"
        time.sleep(0.02)


def alter(admin: AdminClient, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()
    eventually(lambda: shown(admin, topic, name), value)


def shown(admin: AdminClient, topic: str, name: str) -> object:
    (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return future.result()[name].value


def test_apply_creates_what_is_missing_and_then_finds_nothing_to_do(kafka: Any) -> None:
    ours = cluster(kafka, WIDE, NARROW)
    assert {each.topic for each in ours.apply()} == {WIDE.name, NARROW.name}
    assert ours.apply() == []
    assert ours.differences() == []
    found = ours.found()
    assert (found[WIDE.name].partitions, found[NARROW.name].partitions) == (3, 1)
    assert found[NARROW.name].settings["cleanup.policy"] == "compact"
    assert found[WIDE.name].settings["message.timestamp.type"] == "LogAppendTime"


def test_drift_is_shown_and_mended_and_the_operators_settings_stay(kafka: Any, admin: AdminClient) -> None:
    ours = cluster(kafka, WIDE)
    ours.apply()
    alter(admin, WIDE.name, "retention.ms", "1234567")
    alter(admin, WIDE.name, "retention.bytes", "1000000000")
    (drift,) = ours.differences()
    assert (drift.kind, drift.setting, drift.wanted, drift.found) == ("setting", "retention.ms", "3600000", "1234567")
    assert ours.apply() == [drift]
    eventually(ours.differences, [])
    assert ours.found()[WIDE.name].settings["retention.bytes"] == "1000000000"


def test_another_partition_count_is_refused_and_nothing_is_changed(kafka: Any, admin: AdminClient) -> None:
    cluster(kafka, WIDE).apply()
    for future in admin.create_partitions([NewPartitions(WIDE.name, 5)]).values():
        future.result()
    eventually(lambda: cluster(kafka, WIDE).found()[WIDE.name].partitions, 5)
    with pytest.raises(PartitionCountError, match=r"topics-test\.wide has 5, not 3"):
        cluster(kafka, WIDE, OTHER).apply()
    assert cluster(kafka, OTHER).found() == {}, "the refusal comes before the first change"


def test_two_at_once_do_not_disturb_each_other(kafka: Any) -> None:
    first, second = cluster(kafka, WIDE, NARROW), cluster(kafka, WIDE, NARROW)
    stale = second.differences()
    first.apply()
    # The second still believes that both are missing.
    second._create({each.topic for each in stale})
    assert second.differences() == []


def test_what_the_broker_refuses_is_named(kafka: Any) -> None:
    impossible = ClusterTopics({"bootstrap.servers": kafka.bootstrap_servers}, [WIDE], 1, 3, timeout=10)
    with pytest.raises(TopicsError, match=r"topics-test\.wide cannot be created: .*replication"):
        impossible.apply()


def test_the_command_applies_and_tells_by_its_exit_code(
    kafka: Any, admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLWATCH_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    monkeypatch.setenv("STILLWATCH_PARTITIONS", "2")
    monkeypatch.setattr(command, "TOPICS", (WIDE, NARROW))
    load_settings.cache_clear()
    app = typer.Typer()
    command.register(app)
    try:
        missing = CliRunner().invoke(app, ["topics", "diff", "--json"])
        assert missing.exit_code == command.DIFFERENT
        assert [each["kind"] for each in json.loads(missing.output)] == ["missing", "missing"]
        applied = CliRunner().invoke(app, ["topics", "apply"])
        assert applied.exit_code == 0
        assert "2 created, 0 settings mended." in applied.output
        assert CliRunner().invoke(app, ["topics", "diff"]).exit_code == 0
        alter(admin, WIDE.name, "max.message.bytes", "2048")
        shown = CliRunner().invoke(app, ["topics", "diff"])
        assert shown.exit_code == command.DIFFERENT
        assert "max.message.bytes" in shown.output
        assert "0 created, 1 settings mended." in CliRunner().invoke(app, ["topics", "apply"]).output
    finally:
        load_settings.cache_clear()
