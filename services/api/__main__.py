"""``python -m services.api``: the API alone, until SIGTERM. ``services.console`` serves it with its pages."""

from __future__ import annotations

import signal
import socket
from datetime import timedelta
from typing import TYPE_CHECKING

import uvicorn

from services import bootstrap
from services.adapters.clock import SystemClock, utc_now
from services.adapters.kafka.presence import broker_check
from services.adapters.kafka.refusals import Refusals
from services.adapters.postgres.engine import create_engine
from services.api.app import create_app
from services.api.context import LOOPBACK_NAMES, ApiContext
from services.api.health import make_checks
from services.identity.oidc import Provider
from services.identity.sessions import Limits
from services.telemetry.health import HealthServer
from services.telemetry.logs import configure_logs, get_logger
from services.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fastapi import APIRouter, FastAPI

    from services.identity.rules import Rule
    from services.settings import Settings

PROCESS = "api"
DRAIN_SECONDS = 10
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def main() -> None:
    """Serve the API alone."""
    serve()


def serve(
    *,
    pages_routers: Sequence[APIRouter] = (),
    pages_rules: Mapping[str, Rule] | None = None,
    prepare: Callable[[FastAPI, ApiContext, Settings], None] | None = None,
) -> None:
    """Serve; returns when it was asked to stop and the open requests are answered.

    ``prepare`` gives pages what they find on the application.
    """
    settings = bootstrap.load_settings()
    configure_logs(PROCESS, settings.log_level, settings.log_format)
    engine = create_engine(bootstrap.database_url(settings), process=PROCESS, pool_size=10)
    metrics = Metrics()
    brokers = broker_check(bootstrap.consumer_base(settings) | Refusals(metrics).watch())
    checks = make_checks(engine, brokers, settings.tenant, utc_now)
    context = ApiContext(
        engine=engine,
        metrics=metrics,
        clock=SystemClock(),
        tenant=settings.tenant,
        checks=checks,
        secret=bootstrap.console_secret(settings, "console"),
        bounds=Limits(
            idle=timedelta(minutes=settings.session_idle_minutes), absolute=timedelta(hours=settings.session_hours)
        ),
        public_url=settings.public_url or None,
        provider=_provider(settings),
        # Behind a proxy the Host header is the proxy's business.
        allowed_hosts=LOOPBACK_NAMES if settings.api_host in LOOPBACK else None,
    )
    app = create_app(context, bootstrap.product_version(), pages_routers=pages_routers, pages_rules=pages_rules or {})
    if prepare is not None:
        prepare(app, context, settings)
    listener = _listen(settings)
    health = HealthServer(metrics, checks, settings.metrics_host, settings.metrics_port).start()
    get_logger().info(
        "process.started",
        url=f"http://{settings.api_host}:{listener.getsockname()[1]}/",
        metrics_port=health.port,
    )
    # The server handles these while it runs and raises them again at its end: then they have done their work.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=DRAIN_SECONDS
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()
        health.stop()
        engine.dispose()
    get_logger().info("process.stopped")


def _provider(settings: Settings) -> Provider | None:
    if settings.oidc_issuer is None:
        return None
    secret = settings.oidc_client_secret
    return Provider(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=secret.get_secret_value() if secret is not None else None,
        roles_claim=settings.oidc_roles_claim,
        roles=settings.oidc_roles,
    )


def _listen(settings: Settings) -> socket.socket:
    """Open the port, so that one that is taken is an error here and 0 is known before the first log line."""
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.api_host, settings.api_port))
    return listener


if __name__ == "__main__":
    main()
