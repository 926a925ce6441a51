"""The gateway library's composition root: a configuration to a publisher, keys and an enforcer."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from services.adapters.kafka.client import producer_config
from services.gateway.apart.courier import Courier
from services.gateway.apart.frames import Begin
from services.gateway.apart.ledger import Ledger
from services.gateway.apart.process import PublisherProcess, can_start
from services.gateway.identity import load_identity
from services.gateway.imports import import_named
from services.gateway.keys.topic import attach_links, follow_links
from services.gateway.publishing.buffer import WorkBuffer
from services.gateway.publishing.counts import FAILURES, Counts
from services.gateway.publishing.exposing import serve_counts
from services.gateway.publishing.publisher import Publisher
from services.gateway.publishing.sending import Sender, kafka_producer
from services.gateway.publishing.spool import Spool, SpoolError, open_spool
from services.telemetry.traces import start_spans

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.adapters.clock import Clock
    from services.gateway.configuration import GatewayConfiguration
    from services.gateway.identity import Identity
    from services.gateway.middleware.enforcing import Enforcer
    from services.gateway.publishing.buffer import Work
    from services.gateway.publishing.publisher import Publishing
    from services.telemetry.spans import Spans

_log = logging.getLogger("stillwatch.gateway")


def start_publisher(
    configuration: GatewayConfiguration, clock: Clock, source: str, *, start: bool = True
) -> tuple[Publishing, Identity]:
    """Make a publisher and the keys it works with; ``source`` is the CloudEvents source of what it sends.

    In a process of its own where the configuration says so and this interpreter can start one, else in a thread.
    """
    publisher: Publishing
    if configuration.gateway_publisher == "process" and can_start():
        publisher, identity = _make_courier(configuration, clock, source)
    else:
        publisher, identity = make_publisher(configuration, clock, source)
    if start:
        publisher.start()
    return publisher, identity


def make_publisher(
    configuration: GatewayConfiguration,
    clock: Clock,
    source: str,
    *,
    counts: Counts | None = None,
    buffer: WorkBuffer | None = None,
    turned: Callable[[Work | None, Sender | None], None] | None = None,
) -> tuple[Publisher, Identity]:
    """Make a publisher that works in a thread of this process; ``turned`` is told of its work."""
    shown = Counts() if counts is None else counts
    if buffer is None:
        buffer = WorkBuffer(configuration.gateway_buffer_requests, configuration.gateway_buffer_bytes)
    identity = load_identity(configuration)

    def make_sender() -> Sender | None:
        if configuration.gateway_metrics_port:
            serve_counts(shown, configuration.gateway_metrics_port)
        if not configuration.kafka_bootstrap_servers:
            _log.warning("publisher.without_kafka")
            return None
        attach_links(identity, configuration, configuration.kafka_bootstrap_servers)
        config = producer_config(configuration, configuration.kafka_bootstrap_servers)
        return Sender(
            kafka_producer(config, shown),
            _spool(configuration, shown),
            shown,
            clock,
            configuration.gateway_stall_seconds,
        )

    def make_spans() -> Spans:
        return start_spans("gateway", os.environ)

    return Publisher(identity, make_sender, shown, buffer, source, turned, make_spans), identity


def _make_courier(configuration: GatewayConfiguration, clock: Clock, source: str) -> tuple[Courier, Identity]:
    counts = Counts()
    identity = load_identity(configuration)
    apart = replace(
        configuration,
        gateway_metrics_port=0,
        gateway_publisher="thread",
        gateway_decisions_token=None,  # Decisions are applied here, where the responses are.
        intake_token=None,
    )

    def begun() -> None:
        if configuration.gateway_metrics_port:
            serve_counts(counts, configuration.gateway_metrics_port)
        if identity.rotated and configuration.kafka_bootstrap_servers:
            # Decisions are about ids as the publisher makes them; reading how old ones follow may take a while.
            reading = threading.Thread(
                target=follow_links, args=(identity, configuration), name="stillwatch-links", daemon=True
            )
            reading.start()

    courier = Courier(
        lambda: PublisherProcess(Begin(apart.as_environment(), source, os.getpid())),
        Ledger(configuration.gateway_buffer_requests, configuration.gateway_buffer_bytes),
        counts,
        clock,
        lambda: make_publisher(apart, clock, source, counts=counts)[0],
        begun,
    )
    return courier, identity


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
