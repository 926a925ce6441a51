"""``python -m services.console``: the API and the console in one process, until SIGTERM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient

from services import bootstrap
from services.api.__main__ import serve
from services.console.flow import Flow
from services.console.history import WindowHistory
from services.console.mounting import ROUTERS
from services.console.pulse import Pulse
from services.console.rules import RULES
from services.console.state import ConsoleState
from services.gateway.identity import KEY_FILE, load_identity

if TYPE_CHECKING:
    from fastapi import FastAPI

    from services.api.context import ApiContext
    from services.settings import Settings


def main() -> None:
    """Serve; returns when it was asked to stop."""
    serve(pages_routers=ROUTERS, pages_rules=RULES, prepare=prepare)


def prepare(app: FastAPI, context: ApiContext, settings: Settings) -> None:
    """Give the pages what they work with."""
    base = bootstrap.consumer_base(settings)
    # Only a key that is there: one that this process made would give ids that nothing else has.
    has_key = settings.hmac_key is not None or (settings.base_dir / KEY_FILE).is_file()
    app.state.console = ConsoleState(
        context=context,
        pulse=Pulse(context),
        detection=bootstrap.load_detection_config(settings),
        version=bootstrap.product_version(),
        flow=Flow(AdminClient(base), context.clock).start(),
        history=WindowHistory(base, context.clock),
        make_identity=(lambda: load_identity(settings)) if has_key else None,
    )


if __name__ == "__main__":
    main()
