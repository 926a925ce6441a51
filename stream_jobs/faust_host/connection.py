"""Settings to what Faust and aiokafka call the same things: addresses, TLS and SASL."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import faust

from services.bootstrap import bootstrap_servers
from stream_jobs.faust_host.transport import register

if TYPE_CHECKING:
    from services.settings import Settings


def broker_url(settings: Settings) -> str:
    """Give the brokers under the transport's own scheme, as Faust lists them; raises NotRunningError where none is."""
    scheme = register()
    return ";".join(f"{scheme}://{server.strip()}" for server in bootstrap_servers(settings).split(","))


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Give the TLS context where the protocol asks for one."""
    if not settings.kafka_security_protocol.endswith("SSL"):
        return None
    return ssl.create_default_context(cafile=str(settings.kafka_ssl_ca) if settings.kafka_ssl_ca else None)


def credentials(settings: Settings) -> Any:
    """Give Faust's credentials; None for PLAINTEXT."""
    context = tls_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        return faust.SASLCredentials(
            username=settings.kafka_sasl_username,
            password=password.get_secret_value() if password else None,
            mechanism=settings.kafka_sasl_mechanism or "SCRAM-SHA-512",
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None


def client_options(settings: Settings) -> dict[str, Any]:
    """Give the connection arguments of a plain aiokafka client."""
    options: dict[str, Any] = {
        "bootstrap_servers": bootstrap_servers(settings).split(","),
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": tls_context(settings),
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism or "SCRAM-SHA-512",
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }
    return options
