"""The API with the console's pages on it, as the process makes it, without a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detection.config import DetectionConfig
from services.api.app import create_app
from services.console.mounting import ROUTERS
from services.console.pulse import Pulse
from services.console.rules import RULES
from services.console.state import ConsoleState
from services.gateway.identity import Identity

if TYPE_CHECKING:
    from fastapi import FastAPI

    from services.api.context import ApiContext


def console_app(context: ApiContext) -> FastAPI:
    """Make the application."""
    app = create_app(context, "0.0.0", pages_routers=ROUTERS, pages_rules=RULES)
    app.state.console = ConsoleState(
        context=context,
        pulse=Pulse(context),
        detection=DetectionConfig(),
        version="0.0.0",
        make_identity=lambda: Identity(b"a key of the tests, 32 bytes long", context.tenant),
    )
    return app
