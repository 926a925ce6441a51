"""What every request handler works with, made once by the process or a test."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from services.adapters.postgres.moments import EPOCH
from services.identity.sessions import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Engine

    from services.adapters.clock import Clock
    from services.identity.oidc import Provider
    from services.telemetry.health import CheckResult
    from services.telemetry.metrics import Metrics


DEFAULT_LIMITS: Final = Limits(idle=timedelta(hours=1), absolute=timedelta(hours=12))
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """``checks`` are the answers of ``/readyz``; ``allowed_hosts`` None takes any Host header.

    ``tenant`` is whose people sign in here; what a request sees is its caller's tenant. ``secret`` keys the digests of
    the sign-in limiter. ``public_url`` is how browsers reach us, where a proxy stands before.
    """

    engine: Engine
    metrics: Metrics
    clock: Clock
    tenant: str
    checks: Mapping[str, Callable[[], CheckResult]]
    secret: bytes
    allowed_hosts: frozenset[str] | None = LOOPBACK_NAMES
    bounds: Limits = DEFAULT_LIMITS
    public_url: str | None = None
    provider: Provider | None = None

    def now(self) -> datetime:
        """Give the present moment, UTC."""
        return EPOCH + timedelta(milliseconds=self.clock.now_ms())

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a session that commits at the end, or rolls back; an answer is written after the commit only."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session


def get_context(request: Request) -> ApiContext:
    """Find the context of the application."""
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(get_context)]
