"""The composition root: settings to addresses, keys and the detection core. Nothing here runs at import."""

from __future__ import annotations

import hmac
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, TypeVar

import msgspec

from detection.config import DetectionConfig
from detection.detectors.reference import References
from schemas.topics import ALERTS
from services.adapters import signatures
from services.adapters.embedded import state
from services.adapters.kafka.client import client_config, producer_config
from services.adapters.signatures import Verifier, own_secret
from services.errors import ConfigurationError
from services.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from services.adapters.signatures import Signer

ClientConfig = dict[str, str | int | float | bool]


@cache
def load_settings() -> Settings:
    """Read the environment, once for each process."""
    return Settings()


def product_version() -> str:
    """Give the installed version."""
    return version("stillwatch")


def bootstrap_servers(settings: Settings) -> str:
    """Name the brokers: the setting, else the embedded broker that runs here; raises NotRunningError."""
    return settings.kafka_bootstrap_servers or state.running_bootstrap_servers(settings.base_dir)


def database_url(settings: Settings) -> str:
    """Name the database: the setting, else the embedded one that runs here; raises NotRunningError."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return state.running_database_url(settings.base_dir)


def consumer_base(settings: Settings) -> ClientConfig:
    """Give the connection settings for consumers and admin clients."""
    return client_config(settings, bootstrap_servers(settings))


def alerts_consumer(settings: Settings, job: str) -> ClientConfig:
    """Give the settings of a job's consumer of alerts, which commits by itself what it has kept."""
    return consumer_base(settings) | {
        "group.id": f"{settings.tenant}.{job}",
        # A static member: a process that comes back takes its place at once, not after the dead one's session.
        "group.instance.id": f"{settings.tenant}.{job}.{settings.worker_index}",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "session.timeout.ms": settings.session_timeout_ms,
        # Longer than the retries' budget: a database that is away must not cost the assignment.
        "max.poll.interval.ms": 900_000,
        "fetch.message.max.bytes": ALERTS.maximum_bytes,
    }


def producer_base(settings: Settings) -> ClientConfig:
    """Give the settings of an idempotent producer."""
    return producer_config(settings, bootstrap_servers(settings))


def outward_producer(settings: Settings) -> ClientConfig:
    """Give those of a producer whose records others read too: gzip is what every Kafka client can open."""
    return producer_base(settings) | {"compression.type": "gzip"}


def load_signer(settings: Settings) -> Signer:
    """Give the issuer's private key: the setting, else a file of base_dir; raises ConfigurationError."""
    secret = settings.decision_signing_key
    return signatures.load_signer(settings.base_dir, None if secret is None else secret.get_secret_value())


def load_verifier(settings: Settings) -> Verifier:
    """Give what a gateway trusts: the public keys set, else those of this machine's issuer."""
    if settings.decision_public_keys is None and settings.decision_signing_key is not None:
        return Verifier([load_signer(settings).public], settings.tenant)
    return signatures.load_verifier(settings.base_dir, settings.decision_public_keys, settings.tenant)


def console_secret(settings: Settings, purpose: str) -> bytes:
    """Derive 32 bytes for one purpose from the console's key: the setting, else a file made once in ``base_dir``."""
    if settings.console_key is not None:
        key = settings.console_key.get_secret_value().encode()
    else:
        key = own_secret(settings.base_dir / "console.key").encode()
    return hmac.digest(key, f"stillwatch/{purpose}".encode(), "sha256")


def webhook_master(settings: Settings) -> bytes:
    """Give the key that webhooks' secrets are derived from: the setting, else a file of base_dir, made once."""
    if settings.webhook_key is not None:
        return settings.webhook_key.get_secret_value().encode()
    return own_secret(settings.base_dir / "webhook.key").encode()


def load_detection_config(settings: Settings) -> DetectionConfig:
    """Read the configuration file where one is named, else the shipped defaults; raises ConfigurationError."""
    if settings.detection_config is None:
        return DetectionConfig()
    return _decode(settings.detection_config, DetectionConfig)


def load_references(settings: Settings) -> References | None:
    """Read the references that a person promoted: the named file, else the shipped ones, else None (no scores yet).

    Raises ConfigurationError where the file is none.
    """
    if settings.references is not None:
        return _decode(settings.references, References)
    shipped = files("detection") / "references" / "default.json"
    return References.from_json(shipped.read_bytes()) if shipped.is_file() else None


_Kind = TypeVar("_Kind")


def _decode(path: Path, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"{path} cannot be used: {error}") from error
