"""Around every request: who may ask (by Host), how long it took, and what a browser may do with the answer."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders

from services.api.problems import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from services.api.context import ApiContext

# No inline script, no inline style, nothing from elsewhere; what a browser refuses by it is reported and counted.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; report-uri /csp-report"
)
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class EdgeMiddleware:
    """Refuses foreign Host headers (a page elsewhere that rebinds its name to loopback), adds headers, measures."""

    def __init__(self, app: ASGIApp, context: ApiContext) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other kinds of scope pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            if self._allowed(scope):
                await self._app(scope, receive, send_on)
            else:
                refusal = problem(HTTPStatus.MISDIRECTED_REQUEST, "This address answers on its own name only.")
                await refusal(scope, receive, send_on)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._context.metrics.histogram(
                "stillwatch_http_request_seconds", route=route, method=scope["method"], status=str(status)
            ).observe(time.perf_counter() - started)

    def _allowed(self, scope: Scope) -> bool:
        allowed = self._context.allowed_hosts
        if allowed is None:
            return True
        host = Headers(scope=scope).get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        return name.lower() in allowed
