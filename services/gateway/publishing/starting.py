"""The gateway library's composition root: a configuration to a publisher, keys and an enforcer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from services.adapters.kafka.client import producer_config
from services.gateway.identity import load_identity
from services.gateway.imports import import_named
from services.gateway.keys.topic import attach_links
from services.gateway.publishing.buffer import WorkBuffer
from services.gateway.publishing.counts import FAILURES, Counts
from services.gateway.publishing.exposing import serve_counts
from services.gateway.publishing.publisher import Publisher
from services.gateway.publishing.sending import Sender, kafka_producer
from services.gateway.publishing.spool import Spool, SpoolError, open_spool

if TYPE_CHECKING:
    from services.adapters.clock import Clock
    from services.gateway.configuration import GatewayConfiguration
    from services.gateway.identity import Identity
    from services.gateway.middleware.enforcing import Enforcer

_log = logging.getLogger("stillwatch.gateway")


def start_publisher(
    configuration: GatewayConfiguration, clock: Clock, source: str, *, start: bool = True
) -> tuple[Publisher, Identity]:
    """Make a publisher and the keys it works with; ``source`` is the CloudEvents source of what it sends."""
    counts = Counts()
    identity = load_identity(configuration)
    buffer = WorkBuffer(configuration.gateway_buffer_requests, configuration.gateway_buffer_bytes)

    def make_sender() -> Sender | None:
        if configuration.gateway_metrics_port:
            serve_counts(counts, configuration.gateway_metrics_port)
        if not configuration.kafka_bootstrap_servers:
            _log.warning("publisher.without_kafka")
            return None
        attach_links(identity, configuration, configuration.kafka_bootstrap_servers)
        config = producer_config(configuration, configuration.kafka_bootstrap_servers)
        return Sender(
            kafka_producer(config), _spool(configuration, counts), counts, clock, configuration.gateway_stall_seconds
        )

    publisher = Publisher(identity, make_sender, counts, buffer, source)
    if start:
        publisher.start()
    return publisher, identity


def _spool(configuration: GatewayConfiguration, counts: Counts) -> Spool | None:
    if not configuration.gateway_spool_bytes:
        return None
    try:
        return open_spool(configuration.spool_dir, configuration.gateway_spool_bytes)
    except SpoolError as error:
        # Responses and events go on; what a full disk costs shows in the drops once Kafka is away.
        counts.add(FAILURES, "spool")
        _log.error("publisher.without_spool", extra={"why": error.message})
        return None


def load_enforcer(configuration: GatewayConfiguration, counts: Counts) -> Enforcer | None:
    """Make the enforcer that is named; None where none is. Raises ConfigurationError."""
    if not configuration.gateway_enforcer:
        return None
    made: Enforcer = import_named(configuration.gateway_enforcer, "STILLWATCH_GATEWAY_ENFORCER")(configuration, counts)
    return made
