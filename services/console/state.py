"""What the console keeps for the life of its process, beside the API's own context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import Request

    from detection.config import DetectionConfig
    from services.api.context import ApiContext
    from services.console.flow import Flow
    from services.console.history import WindowHistory
    from services.console.pulse import Pulse
    from services.gateway.identity import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleState:
    """``make_identity`` is None where this process has no key; ``flow`` and ``history`` need a broker."""

    context: ApiContext
    pulse: Pulse
    detection: DetectionConfig
    version: str
    flow: Flow | None = None
    history: WindowHistory | None = None
    make_identity: Callable[[], Identity] | None = None


def state_of(request: Request) -> ConsoleState:
    """Find the console's state."""
    state: ConsoleState = request.app.state.console
    return state
