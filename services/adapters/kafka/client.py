"""Client settings that every consumer, producer and admin client shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from confluent_kafka import KafkaError

RefusalKind = Literal["authentication", "tls", "authorization"]
REFUSAL_KINDS: Final[tuple[RefusalKind, ...]] = ("authentication", "tls", "authorization")
_REFUSALS: Final[dict[str, RefusalKind]] = {
    "_AUTHENTICATION": "authentication",
    "SASL_AUTHENTICATION_FAILED": "authentication",
    "_SSL": "tls",
    "TOPIC_AUTHORIZATION_FAILED": "authorization",
    "GROUP_AUTHORIZATION_FAILED": "authorization",
    "CLUSTER_AUTHORIZATION_FAILED": "authorization",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "authorization",
}


class _Secret(Protocol):
    def get_secret_value(self) -> str: ...


class KafkaSettings(Protocol):
    """What of the settings speaks of Kafka; the gateway library has a configuration of its own, with the same names."""

    @property
    def kafka_security_protocol(self) -> str:
        """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""

    @property
    def kafka_sasl_mechanism(self) -> str | None:
        """Unset: no login."""

    @property
    def kafka_sasl_username(self) -> str | None:
        """The principal."""

    @property
    def kafka_sasl_password(self) -> _Secret | None:
        """Its secret."""

    @property
    def kafka_ssl_ca(self) -> Path | None:
        """Certificate authority of the brokers."""


def kind_of_refusal(error: KafkaError) -> RefusalKind | None:
    """Tell what kind of refusal an error is; None where it is none."""
    return _REFUSALS.get(error.name())


def client_config(settings: KafkaSettings, bootstrap_servers: str) -> dict[str, str | int | float | bool]:
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


def producer_config(settings: KafkaSettings, bootstrap_servers: str) -> dict[str, str | int | float | bool]:
    """Add what makes a producer idempotent and put keys where Java and Faust put them."""
    return client_config(settings, bootstrap_servers) | {
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "linger.ms": 5,
        "batch.size": 1 << 20,
        "compression.type": "lz4",
        "message.max.bytes": 8 << 20,
    }
