"""The gateway library's configuration: one frozen object from the environment, without the server's libraries.

``GATEWAY_SETTINGS`` is the closed table; the docs are made from it. Names that the server shares mean the same there.
A secret may come from a file: the same name with ``_FILE`` behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from services.errors import ConfigurationError
from services.gateway.routes import DEFAULT_ROUTES, parse_routes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.gateway.routes import Api

PublisherPlace = Literal["process", "thread"]
_PREFIX: Final = "STILLWATCH_"
_TRUE: Final = frozenset(("1", "true", "yes", "on"))
_FALSE: Final = frozenset(("0", "false", "no", "off", ""))
_SECRETS: Final = frozenset(("gateway_decisions_token", "hmac_key", "intake_token", "kafka_sasl_password"))


class Secret:
    """A value that no log or traceback may show."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        """Hide it."""
        return "Secret(***)"

    def get_secret_value(self) -> str:
        """Give the value itself."""
        return self._value


def _row(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class GatewayConfiguration:
    """What can be set, each with unit and reason. ``from_environment`` reads ``STILLWATCH_`` and the field's name."""

    base_dir: Path = _row(Path(".stillwatch"), "Where the key and the spool are kept, unless named apart.")
    tenant: str = _row("default", "Part of every keyed identifier, so that tenants never meet.")
    hmac_key: Secret | None = _row(None, "Key of every identifier and sketch, 32 bytes or more; or _FILE.")
    key_version: int = _row(1, "Goes with every event where the key is given here; key files know their own.")
    key_source: str = _row(
        "",
        "module:function that gives the keys (a KMS); each process calls it with a tenant: see docs/gateways/keys.md.",
    )
    kafka_bootstrap_servers: str = _row("", "host:port list. Unset: nothing is published, and all is counted.")
    kafka_security_protocol: str = _row("PLAINTEXT", "SASL_SSL in clusters.")
    kafka_sasl_mechanism: str | None = _row(None, "SCRAM-SHA-512 where the cluster asks for it.")
    kafka_sasl_username: str | None = _row(None, "The gateway's principal; it needs WRITE on `requests` alone.")
    kafka_sasl_password: Secret | None = _row(None, "Its secret; or _FILE.")
    kafka_ssl_ca: Path | None = _row(None, "Certificate authority of the brokers.")
    gateway_routes: tuple[tuple[str, Api], ...] = _row(
        parse_routes(DEFAULT_ROUTES), "/path=api,...: endings of watched paths, and what they speak."
    )
    gateway_account_headers: tuple[str, ...] = _row(
        ("authorization", "x-api-key", "api-key"), "The first that is there tells whose request it is."
    )
    gateway_organization_header: str = _row("", "Set by your proxy, never by clients: who owns several accounts.")
    gateway_address_header: str = _row("", "X-Forwarded-For where a trusted proxy sets it; unset: the peer's address.")
    gateway_provider: str = _row("", "Name of the provider, for example vllm.")
    gateway_publisher: PublisherPlace = _row(
        "process",
        "Where events are made: in a process beside the server's, or in a thread of it. See docs/gateways/asgi.md.",
    )
    gateway_buffer_requests: int = _row(10_000, "Requests waiting for the publisher; more are dropped and counted.")
    gateway_buffer_bytes: int = _row(128 << 20, "Their bytes, text included: memory only.")
    gateway_body_bytes: int = _row(16 << 20, "Kept of each request and each response; more counts as text unavailable.")
    gateway_spool_dir: Path | None = _row(None, "Events wait here while Kafka is away. Unset: base_dir/spool.")
    gateway_spool_bytes: int = _row(512 << 20, "Bound of each process's spool; some 800 bytes an event. 0: no spool.")
    gateway_stall_seconds: float = _row(3.0, "Without a word of the broker for this long, events go to the spool.")
    gateway_metrics_port: int = _row(0, "Serves /metrics on loopback where set; several workers want one each.")
    gateway_enforcer: str = _row(
        "", "module:function that makes the Enforcer; called with this configuration and the counts."
    )
    intake_token: Secret | None = _row(
        None, "What senders to the HTTP intake must bear; or _FILE. Unset: loopback only."
    )
    decision_public_keys: str = _row(
        "", "Public keys of the issuer of decisions, hexadecimal, commas between. Unset: this machine's own issuer's."
    )
    gateway_enforce: bool = _row(default=True, meaning="This gateway's own switch: false enforces no decision at all.")
    gateway_decisions_url: str = _row(
        "", "The API's /v1/decisions/stream for gateways without Kafka; unset: the topic."
    )
    gateway_decisions_token: Secret | None = _row(None, "Bearer token for that address; or _FILE.")
    gateway_decision_headers: bool = _row(default=False, meaning="Show decisions in X-Stillwatch-Decision on answers.")
    gateway_contact: str = _row("", "Named in refusals: where a developer can turn to.")
    gateway_fail_closed: bool = _row(
        default=False, meaning="Refuse with 503 where the enforcer fails; default: let pass and count."
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> GatewayConfiguration:
        """Read the environment; raises ConfigurationError, which names the setting and never a value."""
        values: dict[str, Any] = {}
        for each in fields(cls):
            text = environment.get(_PREFIX + each.name.upper())
            if text is None and each.name in _SECRETS:
                text = _from_file(environment.get(f"{_PREFIX}{each.name.upper()}_FILE"))
            if text is not None:
                values[each.name] = _read(each.name, str(each.type), text)
        return cls(**values)

    def as_environment(self) -> dict[str, str]:
        """Give what ``from_environment`` makes this configuration of, secrets included: for memory only."""
        found: dict[str, str] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, Secret):
                value = value.get_secret_value()
            elif isinstance(value, Path):
                value = value.absolute()
            if value is not None:
                found[_PREFIX + each.name.upper()] = _shown(value)
        return found

    @property
    def spool_dir(self) -> Path:
        """Where the spool is."""
        return self.gateway_spool_dir or self.base_dir / "spool"


def _from_file(path: str | None) -> str | None:
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def _read(name: str, kind: str, text: str) -> Any:  # noqa: PLR0911 - one return for each kind of setting
    try:
        if name == "gateway_routes":
            return parse_routes(text)
        if kind.startswith("Secret"):
            return Secret(text)
        if kind.startswith("Path"):
            return Path(text)
        if kind.startswith("tuple"):
            return tuple(filter(None, (part.strip().lower() for part in text.split(","))))
        if kind == "PublisherPlace":
            return _one_of(text.strip().lower(), get_args(PublisherPlace))
        if kind == "bool":
            return _truth(text)
        if kind == "int":
            return _positive(int(text))
        if kind == "float":
            return _positive(float(text))
    except ValueError:
        raise ConfigurationError(f"{_PREFIX}{name.upper()} is no {kind}", "See docs/gateways/README.md.") from None
    return text


def _positive(number: float) -> float:
    if not 0 <= number < float("inf"):
        raise ValueError
    return number


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _one_of(text: str, known: tuple[str, ...]) -> str:
    if text not in known:
        raise ValueError
    return text


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join("=".join(each) if isinstance(each, tuple) else each for each in default)
    return "" if default is None else str(default)


GATEWAY_SETTINGS: Final[tuple[tuple[str, str, str], ...]] = tuple(
    (f"{_PREFIX}{each.name.upper()}", _shown(each.default), each.metadata["meaning"])
    for each in fields(GatewayConfiguration)
)
