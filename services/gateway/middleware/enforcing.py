"""The seam between a gateway and what decides about its requests: who asks, and what is to be done about it.

The middleware asks an ``Enforcer`` once for each watched request, before the application sees it, and does what the
``Action`` says. Enforcers live in ``services.gateway.enforcement``; the setting STILLWATCH_GATEWAY_ENFORCER names one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.gateway.routes import Api

Transform: TypeAlias = "Callable[[dict[str, Any]], dict[str, Any]]"


@dataclass(frozen=True, slots=True)
class Asked:
    """What may be known of a request before its body is read: keyed identifiers, "" where absent, and the API."""

    account: str
    organization: str
    api: Api


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in place of the application's.

    ``message`` is for a developer: what was refused, why, and what to do. The gateway wraps it in the error body of the
    API that was asked. ``retry_after_seconds`` becomes the header of that name.
    """

    status: int
    code: str
    message: str
    retry_after_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """What to do with one request; the default lets it pass.

    The order is: refuse, else wait ``delay_seconds``, else hand ``transform`` the decoded body and the application what
    it gives. ``headers`` go on the response, whoever made it. ``finished`` is called exactly once, when the response
    has ended or failed, also for a refusal: a limit on concurrency counts with it.
    """

    refusal: Refusal | None = None
    delay_seconds: float = 0.0
    transform: Transform | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    finished: Callable[[], None] | None = None


class Enforcer(Protocol):
    """What decides. Any exception of it is counted, and lets the request pass unless the gateway fails closed."""

    def start(self) -> None:
        """Begin to follow the decisions, in threads of its own; returns at once."""

    def stop(self) -> None:
        """End those threads."""

    def decide(self, asked: Asked) -> Action | None:
        """Decide from memory, in far less than a millisecond, on the event loop; None lets the request pass."""
