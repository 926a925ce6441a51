"""From the gateway's configuration to its enforcer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from services.adapters.clock import SystemClock
from services.adapters.kafka.client import client_config
from services.adapters.signatures import load_verifier
from services.gateway.enforcement.cache import DecisionCache
from services.gateway.enforcement.enforcer import DecisionEnforcer, Follower
from services.gateway.enforcement.stream_feed import StreamFollower
from services.gateway.enforcement.topic_feed import TopicFollower
from services.telemetry.traces import start_spans

if TYPE_CHECKING:
    from services.gateway.configuration import GatewayConfiguration
    from services.gateway.publishing.counts import Counts


def make_enforcer(configuration: GatewayConfiguration, counts: Counts) -> DecisionEnforcer:
    """Make the enforcer that follows the stream where a URL is set, else the topic; raises ConfigurationError."""
    keys = configuration.decision_public_keys or None
    cache = DecisionCache(load_verifier(configuration.base_dir, keys, configuration.tenant))
    clock = SystemClock()
    url = configuration.gateway_decisions_url
    if url:
        secret = configuration.gateway_decisions_token
        token = "" if secret is None else secret.get_secret_value()
        follower: Follower = StreamFollower(url, token, cache, counts, clock)
    else:
        follower = TopicFollower(
            client_config(configuration, configuration.kafka_bootstrap_servers),
            cache,
            counts,
            clock,
            lambda: start_spans("gateway", os.environ),
        )
    return DecisionEnforcer(
        cache,
        follower,
        counts,
        clock,
        contact=configuration.gateway_contact,
        headers=configuration.gateway_decision_headers,
        fail_closed=configuration.gateway_fail_closed,
        switched_on=configuration.gateway_enforce,
    )
