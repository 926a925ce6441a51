"""The sealed mapping on its compacted topic ``key-links``: read whole before the first id is made, then added to."""

from __future__ import annotations

import atexit
import logging
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from schemas.topics import KEY_LINKS
from services.adapters.kafka.client import KafkaSettings, client_config, producer_config
from services.errors import StillwatchError
from services.gateway.keys.links import Seal, SealedLinks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.gateway.identity import Identity

_BATCH: Final = 5000
_SECONDS: Final = 30.0
_AGAIN_SECONDS: Final = 5.0
_log = logging.getLogger("stillwatch.gateway")


class LinkSettings(KafkaSettings, Protocol):
    """What of the gateway's configuration says where the mapping is."""

    @property
    def kafka_bootstrap_servers(self) -> str:
        """host:port list."""


class LinksError(StillwatchError):
    """The mapping between old and new ids cannot be read."""

    hint = "Bring the broker back, and create the topics with `stillwatch topics apply`: without it ids would change."


def attach_links(identity: Identity, settings: KafkaSettings, bootstrap_servers: str, *, tell: bool = True) -> None:
    """Give an identity, and the one before it, the mappings that their keys have; raises LinksError.

    Reads the topic to its end. Without a rotated key this does nothing, and asks no broker. Pairs that are new are put
    on the topic, unless ``tell`` is False: where another process tells them.
    """
    wanted: list[tuple[Identity, SealedLinks]] = []
    for each in (identity, identity.previous):
        secret = None if each is None else each.link_secret()
        if each is not None and secret is not None:
            send = _sender(settings, bootstrap_servers) if tell and each.previous is not None else None
            wanted.append((each, SealedLinks(Seal(secret, each.key_version), send)))
    if not wanted:
        return
    read = _read_all([links for _, links in wanted], client_config(settings, bootstrap_servers))
    for each, links in wanted:
        each.attach(links)
        _log.info("links.loaded", extra={"version": each.key_version, "read": read, "pairs": len(links)})


def follow_links(identity: Identity, settings: LinkSettings) -> None:
    """Read the mappings, and try until they are read; ids that were made before are forgotten then."""
    while True:
        try:
            attach_links(identity, settings, settings.kafka_bootstrap_servers, tell=False)
        except LinksError:
            _log.warning("links.waits")
            time.sleep(_AGAIN_SECONDS)
        else:
            return


def _sender(settings: KafkaSettings, bootstrap_servers: str) -> Callable[[bytes, bytes], None]:
    producer: Any = Producer(producer_config(settings, bootstrap_servers) | {"log_level": 0})
    atexit.register(producer.flush, _SECONDS)

    def send(name: bytes, sealed: bytes) -> None:
        # Never in anybody's way: what a full queue or a long outage loses is told again when the customer comes again.
        try:
            producer.produce(KEY_LINKS.name, sealed, name)
        except BufferError:
            _log.warning("links.full")
        producer.poll(0)

    return send


def _read_all(mappings: Sequence[SealedLinks], config: dict[str, Any]) -> int:
    consumer: Any = Consumer(
        config
        | {"group.id": "stillwatch-links", "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 0}
    )
    read = 0
    try:
        found = consumer.list_topics(KEY_LINKS.name, timeout=_SECONDS).topics[KEY_LINKS.name]
        if found.error is not None:
            raise LinksError(f"the topic {KEY_LINKS.name} is not there")
        left = set(found.partitions)
        consumer.assign([TopicPartition(KEY_LINKS.name, number, 0) for number in left])
        while left:
            messages = consumer.consume(_BATCH, _SECONDS)
            if not messages:
                raise LinksError(f"no broker gives {KEY_LINKS.name}")
            for message in messages:
                error = message.error()
                if error is None:
                    read += 1
                    for links in mappings:
                        if links.holds(message.key() or b""):
                            links.load(message.value() or b"")
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent-kafka's public name for it
                    left.discard(message.partition())
                else:
                    raise LinksError(f"{KEY_LINKS.name} cannot be read: {error.name()}")
    except KafkaException as error:
        raise LinksError(f"no broker answers: {error.args[0].name()}") from error
    finally:
        consumer.close()
    return read
