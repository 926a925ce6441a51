"""The console as a list of routers, and the state that they find on the application."""

from __future__ import annotations

from typing import Final

from services.console import live, rendering, reports
from services.console.pages import (
    account,
    acting,
    alert,
    bulk,
    enforcing,
    entitling,
    exporting,
    overview,
    people,
    promoting,
    quality,
    queue,
    search,
    shadow,
    trail,
)

ROUTERS: Final = (
    overview.router,
    acting.router,
    bulk.router,
    queue.router,
    alert.router,
    account.router,
    search.router,
    exporting.router,
    quality.router,
    promoting.router,
    entitling.router,
    enforcing.router,
    shadow.router,
    trail.router,
    people.router,
    live.router,
    reports.router,
    rendering.router,
)
