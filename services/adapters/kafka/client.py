"""Client settings that every consumer, producer and admin client shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.settings import Settings


def client_config(settings: Settings, bootstrap_servers: str) -> dict[str, str | int | float | bool]:
    """Give librdkafka's connection settings."""
    config: dict[str, str | int | float | bool] = {
        "bootstrap.servers": bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        # A restarted broker is back within seconds; the default of 10 s between tries makes every restart an outage.
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 30_000,
    }
    if settings.kafka_sasl_mechanism:
        config["sasl.mechanism"] = settings.kafka_sasl_mechanism
        config["sasl.username"] = settings.kafka_sasl_username or ""
        password = settings.kafka_sasl_password
        config["sasl.password"] = password.get_secret_value() if password else ""
    if settings.kafka_ssl_ca:
        config["ssl.ca.location"] = str(settings.kafka_ssl_ca)
    return config


def producer_config(settings: Settings, bootstrap_servers: str) -> dict[str, str | int | float | bool]:
    """Add what makes a producer idempotent and put keys where Java and Faust put them."""
    return client_config(settings, bootstrap_servers) | {
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "linger.ms": 5,
        "batch.size": 1 << 20,
        "compression.type": "lz4",
        "message.max.bytes": 8 << 20,
    }
