"""The topics table against a real cluster: what differs, and making it so.

Only what the table says is compared and changed; other settings of a topic are the operator's. Partition counts are
never changed: the same key would live elsewhere, and the state of every job with it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from services.errors import NotRunningError, StillwatchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schemas.topics import Topic

Kind = Literal["missing", "setting", "partitions", "replicas"]
_QUIET: Final = 2  # Of syslog: a broker that is not up yet is no news, the error at the end names it.


class PartitionCountError(StillwatchError):
    """A topic exists with another number of partitions, and keys would move if it were changed."""

    hint = (
        "Set STILLWATCH_PARTITIONS to what the topic has; or, to start over, drain the jobs, delete the topic and the "
        "state topics, and apply again."
    )


class TopicsError(StillwatchError):
    """The broker refused to create or alter a topic."""

    hint = "The principal needs CREATE, ALTER_CONFIGS and DESCRIBE_CONFIGS on these topics."


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the cluster is not as the table says. ``setting`` is "" unless ``kind`` is ``setting``."""

    topic: str
    kind: Kind
    setting: str
    wanted: str
    found: str


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic as the cluster has it."""

    partitions: int
    replicas: int
    settings: Mapping[str, str]


def compare(
    topics: Iterable[Topic], found: Mapping[str, FoundTopic], partitions: int, replication_factor: int
) -> list[Difference]:
    """Name every difference, in the table's order."""
    differences: list[Difference] = []
    for topic in topics:
        wanted_partitions = partitions if topic.width == "wide" else 1
        there = found.get(topic.name)
        if there is None:
            differences.append(Difference(topic.name, "missing", "", f"{wanted_partitions} partitions", "none"))
            continue
        if there.partitions != wanted_partitions:
            differences.append(Difference(topic.name, "partitions", "", str(wanted_partitions), str(there.partitions)))
        if there.replicas != replication_factor:
            differences.append(Difference(topic.name, "replicas", "", str(replication_factor), str(there.replicas)))
        differences += [
            Difference(topic.name, "setting", name, value, there.settings.get(name, "unset"))
            for name, value in topic.config().items()
            if there.settings.get(name) != value
        ]
    return differences


class ClusterTopics:
    """The cluster's topics. ``config`` is librdkafka's; every call waits at most ``timeout`` seconds for the broker."""

    def __init__(
        self,
        config: Mapping[str, str | int | float | bool],
        topics: Sequence[Topic],
        partitions: int,
        replication_factor: int,
        timeout: float = 30.0,
    ) -> None:
        self._admin = AdminClient({**config, "log_level": _QUIET})
        self._servers = str(config["bootstrap.servers"])
        self._topics = tuple(topics)
        self._partitions = partitions
        self._replication_factor = replication_factor
        self._timeout = timeout

    def differences(self) -> list[Difference]:
        """Compare the cluster with the table; raises NotRunningError where no broker answers in time."""
        return compare(self._topics, self.found(), self._partitions, self._replication_factor)

    def found(self) -> dict[str, FoundTopic]:
        """Read the table's topics from the cluster; those that do not exist are left out."""
        there = self._metadata()
        names = [topic.name for topic in self._topics if topic.name in there]
        settings = self._settings(names)
        return {name: FoundTopic(*there[name], settings[name]) for name in names}

    def apply(self) -> list[Difference]:
        """Create what is missing and mend settings; give what was changed. Safe to run at once from several places.

        Raises PartitionCountError before anything is changed where a partition count differs. Replica counts are left
        as they are: moving them is the cluster's own tool's work. On return, every topic has a leader everywhere.
        """
        differences = self.differences()
        refused = [each for each in differences if each.kind == "partitions"]
        if refused:
            told = "; ".join(f"{each.topic} has {each.found}, not {each.wanted}" for each in refused)
            raise PartitionCountError(f"The number of partitions cannot be changed: {told}.")
        missing = [each for each in differences if each.kind == "missing"]
        drifted = [each for each in differences if each.kind == "setting"]
        self._create({each.topic for each in missing})
        self._mend(drifted)
        if missing:
            self._await_leaders()
        return missing + drifted

    def _metadata(self) -> dict[str, tuple[int, int]]:
        """Give partitions and replicas of every topic, waiting for the broker."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                metadata = self._admin.list_topics(timeout=min(2.0, self._timeout))
            except KafkaException as error:
                if time.monotonic() >= deadline:
                    raise NotRunningError(
                        f"no Kafka broker answered at {self._servers} within {self._timeout:g} s"
                    ) from error
                continue
            return {
                name: (
                    len(topic.partitions),
                    min((len(each.replicas) for each in topic.partitions.values()), default=0),
                )
                for name, topic in metadata.topics.items()
                if topic.error is None
            }

    def _settings(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        settings: dict[str, dict[str, str]] = {}
        for resource, future in self._admin.describe_configs(resources, request_timeout=self._timeout).items():
            try:
                entries = future.result()
            except KafkaException as error:
                raise TopicsError(f"The settings of {resource.name} cannot be read: {_reason(error)}.") from error
            settings[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
        return settings

    def _create(self, names: set[str]) -> None:
        new = [
            NewTopic(
                topic.name,
                num_partitions=self._partitions if topic.width == "wide" else 1,
                replication_factor=self._replication_factor,
                config=topic.config(),
            )
            for topic in self._topics
            if topic.name in names
        ]
        if not new:
            return
        for name, future in self._admin.create_topics(
            new, operation_timeout=self._timeout, request_timeout=self._timeout
        ).items():
            try:
                future.result()
            except KafkaException as error:
                # Somebody else was quicker, with the same table.
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise TopicsError(f"{name} cannot be created: {_reason(error)}.") from error

    def _mend(self, drifted: Sequence[Difference]) -> None:
        by_topic: dict[str, list[ConfigEntry]] = {}
        for each in drifted:
            entry = ConfigEntry(each.setting, each.wanted, incremental_operation=AlterConfigOpType.SET)
            by_topic.setdefault(each.topic, []).append(entry)
        if not by_topic:
            return
        resources = [
            ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries) for name, entries in by_topic.items()
        ]
        for resource, future in self._admin.incremental_alter_configs(resources, request_timeout=self._timeout).items():
            try:
                future.result()
            except KafkaException as error:
                raise TopicsError(f"{resource.name} cannot be altered: {_reason(error)}.") from error

    def _await_leaders(self) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            metadata = self._admin.list_topics(timeout=self._timeout)
            pending = [
                topic.name
                for topic in self._topics
                if topic.name not in metadata.topics
                or any(part.leader < 0 for part in metadata.topics[topic.name].partitions.values())
            ]
            if not pending:
                return
            if time.monotonic() >= deadline:
                raise TopicsError(f"No leader for {', '.join(pending)} within {self._timeout:g} s.")
            time.sleep(0.05)


def _reason(error: KafkaException) -> str:
    return str(error.args[0].str()).rstrip(".")
