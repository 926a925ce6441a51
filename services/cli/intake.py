"""``stillwatch intake``: the HTTP intake for gateways that can only send what they have, beside those gateways."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

import typer

from services import bootstrap
from services.adapters.clock import SystemClock
from services.gateway.configuration import GatewayConfiguration


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("intake")(intake)


def intake(
    *,
    host: Annotated[str, typer.Option("--host", help="Loopback, unless a token is set.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 takes a free port.")] = 8090,
) -> None:
    """Take vendors' records by HTTP, sketch them, and publish the events.

    Stands on the gateway's side of the privacy boundary: text reaches it, and goes no further.
    """
    import uvicorn  # noqa: PLC0415 - 0.2 s that only this command costs

    from services.gateway.intake.app import IntakeApp  # noqa: PLC0415 - as above
    from services.gateway.publishing.starting import make_publisher  # noqa: PLC0415 - as above

    settings = bootstrap.load_settings()
    configuration = replace(
        GatewayConfiguration.from_environment(os.environ),
        base_dir=settings.base_dir,
        kafka_bootstrap_servers=bootstrap.bootstrap_servers(settings),
    )
    # In a thread, whatever the setting says: no response of a model waits for this process.
    publisher, _ = make_publisher(configuration, SystemClock(), "/gateway/intake")
    token = configuration.intake_token.get_secret_value() if configuration.intake_token is not None else ""
    # Access lines would name senders; the counts at /metrics tell what came.
    uvicorn.run(IntakeApp(publisher, token), host=host, port=port, access_log=False, log_level="warning")
