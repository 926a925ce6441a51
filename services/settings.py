"""Every setting of every process: one frozen object, read from the environment once, at the composition root.

Names are the fields below in upper case behind ``STILLWATCH_``. A secret may come from a file instead: the same name
with ``_FILE`` behind it. ``stillwatch config`` prints the effective values, secrets masked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_SECRETS = (
    "database_url",
    "hmac_key",
    "kafka_sasl_password",
    "decision_signing_key",
    "webhook_key",
    "oidc_client_secret",
    "console_key",
)


class Settings(BaseSettings):
    """What can be set. Each field tells its unit, and why its default is what it is."""

    model_config = SettingsConfigDict(
        env_prefix="STILLWATCH_", env_file=".env", env_file_encoding="utf-8", frozen=True, extra="ignore"
    )

    base_dir: Path = Field(
        default=Path(".stillwatch"), description="Where the embedded services and the spool keep their data."
    )
    tenant: str = Field(default="default", description="Part of every keyed identifier, so that tenants never meet.")

    kafka_bootstrap_servers: str | None = Field(
        default=None, description="host:port list. Unset: the embedded broker is started, or found where it runs."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="The embedded broker listens on loopback only; clusters set SASL_SSL."
    )
    kafka_sasl_mechanism: str | None = Field(default=None, description="SCRAM-SHA-512 where the cluster asks for it.")
    kafka_sasl_username: str | None = Field(default=None, description="The principal of this process.")
    kafka_sasl_password: SecretStr | None = Field(default=None, description="Its secret; or _FILE.")
    kafka_ssl_ca: Path | None = Field(default=None, description="Certificate authority of the brokers.")
    partitions: int = Field(
        default=8, ge=1, le=1024, description="Of wide topics, fixed at creation: 8 for one machine, 64 in clusters."
    )
    replication_factor: int = Field(default=1, ge=1, le=9, description="1 for one machine, 3 in clusters.")

    database_url: SecretStr | None = Field(
        default=None, description="postgresql+psycopg://... Unset: the embedded database is started, or found."
    )

    retention_days: int = Field(
        default=400,
        ge=1,
        description="Evidence and old revisions go, by month, this long after they were stored: a year and a month.",
    )

    hmac_key: SecretStr | None = Field(
        default=None, description="Key of every identifier and sketch, 32 bytes or more. Unset: made once in base_dir."
    )
    key_version: int = Field(
        default=1,
        ge=0,
        le=65535,
        description="Of a bare key; `stillwatch keys rotate` writes versions beside the keys.",
    )
    key_source: str = Field(
        default="",
        description="module:function that gives the keys of a tenant, from a KMS; see docs/gateways/keys.md.",
    )

    decision_signing_key: SecretStr | None = Field(
        default=None,
        description="Ed25519 seed of the issuer of decisions, 64 hexadecimal digits. Unset: made once in base_dir.",
    )
    decision_public_keys: str | None = Field(
        default=None,
        description="What gateways trust: public keys in hexadecimal, commas between, several while a key is turned. "
        "Unset: the key of this machine's own issuer.",
    )

    webhook_key: SecretStr | None = Field(
        default=None,
        description="Master key of the webhooks' secrets, 32 bytes or more. Unset: made once in base_dir.",
    )
    webhook_private_targets: bool = Field(
        default=False, description="Let webhooks go to http and to private or loopback addresses: for tests and labs."
    )
    public_url: str = Field(
        default="", description="Where browsers reach the console, as in https://watch.example; links begin with it."
    )

    checkpoint_seconds: float = Field(
        default=1.0,
        gt=0,
        description="Time between transactions of the stream workers: alerts wait for one. Five times that if behind.",
    )
    worker_index: int = Field(default=0, ge=0, description="Stable and unique in a job: part of transactional.id.")
    stuck_seconds: float = Field(
        default=120.0,
        ge=0,
        description="A stream worker whose loop stands still this long ends, with a flight record; 0 never.",
    )
    session_timeout_ms: int = Field(default=10_000, description="A dead worker's partitions move after this long.")
    static_membership: bool = Field(
        default=False,
        description="A stream worker that is back within the session's length takes its partitions again, and no other "
        "moves: for orchestrators that replace workers one by one. Then a stop hands partitions over no sooner.",
    )
    dead_letter_ratio: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="A job stops when more than this share of at least 1,000 records of a partition is invalid.",
    )

    api_host: str = Field(default="127.0.0.1", description="Loopback: others reach it by a proxy that speaks TLS.")
    api_port: int = Field(default=8080, ge=0, le=65535, description="0 takes a free port.")
    console_key: SecretStr | None = Field(
        default=None, description="Keys the sign-in limiter and signs dossiers; 32 bytes. Unset: made once in base_dir."
    )
    session_idle_minutes: int = Field(
        default=60, ge=1, description="A session ends after so long without a request: an hour covers a meeting."
    )
    session_hours: int = Field(default=12, ge=1, description="A session ends so long after it began: a working day.")
    oidc_issuer: str | None = Field(
        default=None, description="URL of an OpenID Connect provider. Unset: people sign in by password only."
    )
    oidc_client_id: str = Field(default="stillwatch", description="As the provider knows this product.")
    oidc_client_secret: SecretStr | None = Field(
        default=None, description="Unset: a public client, PKCE alone; or _FILE."
    )
    oidc_roles_claim: str = Field(
        default="groups", description="The claim of the ID token that lists a person's groups."
    )
    oidc_roles: dict[str, list[str]] = Field(
        default={}, description='JSON: which group gives which roles, as in {"soc": ["analyst"]}. Unset: none.'
    )
    metrics_host: str = Field(default="127.0.0.1", description="Where /metrics, /livez and /readyz listen.")
    metrics_port: int = Field(default=0, ge=0, le=65535, description="0 takes a free port and logs it.")

    analysts: int = Field(
        default=0,
        ge=0,
        description="People who read alerts at a time; bars are proposed for them. 0: no limit but the budget.",
    )
    analyst_alerts_per_hour: float = Field(
        default=6.0, gt=0, description="New alerts that each of them can look at: ten minutes for one."
    )

    detection_config: Path | None = Field(default=None, description="A JSON file over the shipped configuration.")
    references: Path | None = Field(default=None, description="A JSON file in place of the shipped references.")

    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Lowest level shown.")
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, else JSON."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in _SECRETS:
            path = os.environ.get(f"STILLWATCH_{name.upper()}_FILE")
            if path and not values.get(name):
                values[name] = Path(path).read_text(encoding="utf-8").strip()
        return values

    def effective(self) -> dict[str, str]:
        """Give every value as text, secrets masked."""
        return {name: str(value) for name, value in self.model_dump().items()}
