"""Topics on the run's own broker, which every test shares: whoever comes second finds them there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

if TYPE_CHECKING:
    from collections.abc import Iterable


def make_topic(servers: str, name: str, partitions: int = 1) -> None:
    """Create a topic, unless it is there."""
    make_topics(servers, (name,), partitions)


def make_topics(servers: str, topics: Mapping[str, Mapping[str, str]] | Iterable[str], partitions: int = 1) -> None:
    """Create the topics that are not there yet: names, or names with their configurations.

    Asking first would not do: tests come in a random order, and what a broker tells of its topics lags.
    """
    wanted = topics if isinstance(topics, Mapping) else {name: {} for name in topics}
    admin = AdminClient({"bootstrap.servers": servers})  # Kept: its end would end what it was asked for.
    new = [NewTopic(name, partitions, 1, config=dict(config)) for name, config in wanted.items()]
    for made in admin.create_topics(new).values():
        try:
            made.result(30)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
