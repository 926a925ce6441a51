"""The middleware itself: passes everything through, and keeps what is needed to tell of it afterwards.

A chunk of a response is handed on before it is kept, and a finished exchange is only put in a buffer: making an event
of it is the publisher's. No failure of the watching reaches the application or the client; it is counted.
"""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from services.adapters.clock import SystemClock
from services.gateway.configuration import GatewayConfiguration
from services.gateway.formats.credentials import bearer
from services.gateway.middleware.enforcing import Action, Asked, Refusal
from services.gateway.middleware.exchange import Captured, Exchange
from services.gateway.middleware.refusing import BodyTooLargeError, refuse, transformed
from services.gateway.publishing.counts import ENFORCED, FAILURES
from services.gateway.publishing.starting import load_enforcer, start_publisher
from services.gateway.routes import Routes
from services.telemetry.spans import TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.adapters.clock import Clock
    from services.gateway.identity import Identity
    from services.gateway.middleware.asgi import App, Message, Receive, Scope, Send
    from services.gateway.middleware.enforcing import Enforcer
    from services.gateway.publishing.publisher import Publishing
    from services.gateway.routes import Api

_UNHANDLED: Final = 500
_UNAVAILABLE: Final = 503
_log = logging.getLogger("stillwatch.gateway")


class StillwatchMiddleware:
    """Pure ASGI middleware. Without further arguments everything comes from the environment.

    ``configuration``, ``publisher``, ``identity``, ``enforcer`` and ``clock`` may be given instead, all of them or the
    first alone.
    """

    def __init__(
        self,
        app: App,
        configuration: GatewayConfiguration | None = None,
        *,
        publisher: Publishing | None = None,
        identity: Identity | None = None,
        enforcer: Enforcer | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.app = app
        self._configuration = configuration or GatewayConfiguration.from_environment(os.environ)
        self._clock = clock or SystemClock()
        if publisher is None or identity is None:
            publisher, identity = start_publisher(self._configuration, self._clock, "/gateway/asgi", start=False)
        self.publisher = publisher
        self._identity = identity
        self._enforcer = enforcer if enforcer is not None else load_enforcer(self._configuration, publisher.counts)
        self._routes = Routes(self._configuration.gateway_routes)
        self._wanted = _wanted(self._configuration)
        # Tells apart requests without an id of their own, those of other processes too.
        self._process = os.urandom(8).hex()
        self._numbers = count()
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if not self._begun:
            self._begin()
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        api = self._routes.find(scope)
        if api is None:
            await self.app(scope, receive, send)
            return
        await self._watch(scope, receive, send, api)

    def _begin(self) -> None:
        self._begun = True
        self.publisher.start()
        if self._enforcer is not None:
            self._enforcer.start()

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Follow the application's life; at its end everything is published before the server hears of it.

        A server may end its process as soon as it is told. An application that knows no lifespan raises here, at its
        beginning: then the end of the process is ours.
        """
        ending = False

        async def receiving() -> Message:
            nonlocal ending
            message = await receive()
            ending = ending or message["type"] == "lifespan.shutdown"
            return message

        async def sending(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self._stop()
            await send(message)

        try:
            await self.app(scope, receiving, sending)
        finally:
            if ending:
                await self._stop()

    async def _stop(self) -> None:
        if self._enforcer is not None:
            await asyncio.to_thread(self._enforcer.stop)
        await asyncio.to_thread(self.publisher.stop)

    async def _watch(self, scope: Scope, receive: Receive, send: Send, api: Api) -> None:
        exchange = self._open(scope, api)
        began = self._clock.monotonic()

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                exchange.request.add(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                _read_start(exchange, message)
            elif message["type"] == "http.response.body" and message.get("body"):
                if exchange.first_chunk_ms is None:
                    exchange.first_chunk_ms = round((self._clock.monotonic() - began) * 1000)
                exchange.response.add(message["body"])

        try:
            await self._enforce(scope, receiving, sending, exchange)
        except BaseException as error:
            exchange.error = type(error).__name__
            if not exchange.status and isinstance(error, Exception):
                exchange.status = _UNHANDLED
            raise
        finally:
            exchange.duration_ms = round((self._clock.monotonic() - began) * 1000)
            if not exchange.refused:
                self.publisher.offer(exchange)

    async def _enforce(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        action = self._decide(exchange) if self._enforcer is not None else None
        if action is None:
            await self.app(scope, receive, send)
            return
        if action.headers:
            send = partial(_send_with_headers, send, action.headers)
        try:
            if action.refusal is not None:
                exchange.refused = True
                await refuse(send, exchange.api, action.refusal)
                return
            if action.delay_seconds > 0:
                await asyncio.sleep(action.delay_seconds)
            if action.transform is not None:
                try:
                    scope, receive = await transformed(
                        scope, receive, action.transform, self._configuration.gateway_body_bytes
                    )
                except BodyTooLargeError as error:
                    await refuse(send, exchange.api, error.refusal)
                    return
            await self.app(scope, receive, send)
        finally:
            if action.finished is not None:
                self._guarded("enforcer", action.finished)

    def _decide(self, exchange: Exchange) -> Action | None:
        """Ask the enforcer; its failure lets the request pass unless the gateway fails closed."""
        asked = Asked(
            self._identity.account(exchange.account_raw),
            self._identity.identifier("organization", exchange.organization_raw),
            exchange.api,
        )
        try:
            action = self._enforcer.decide(asked) if self._enforcer is not None else None
        except Exception as error:  # noqa: BLE001 - whatever an enforcer raises, the response goes on
            self._tell("enforcer", error)
            action = _closed() if self._configuration.gateway_fail_closed else None
        if action is not None:
            kind = (
                "refuse"
                if action.refusal
                else "transform"
                if action.transform
                else "delay"
                if action.delay_seconds
                else "pass"
            )
            self.publisher.counts.add(ENFORCED, kind)
        return action

    def _open(self, scope: Scope, api: Api) -> Exchange:
        settings = self._configuration
        headers = _headers(scope, self._wanted)
        account = next((headers[name] for name in settings.gateway_account_headers if headers.get(name)), "")
        client = scope.get("client")
        return Exchange(
            api=api,
            natural_id=(self._process, str(next(self._numbers))),
            account_raw=bearer(account),
            organization_raw=headers.get(settings.gateway_organization_header.lower(), ""),
            client_address=headers.get(settings.gateway_address_header.lower(), "") or (client[0] if client else ""),
            user_agent=headers.get("user-agent", ""),
            provider=settings.gateway_provider,
            started_ms=self._clock.now_ms(),
            request=Captured(settings.gateway_body_bytes),
            response=Captured(settings.gateway_body_bytes),
            request_encoding=headers.get("content-encoding", "").strip().lower(),
            traceparent=headers.get(TRACEPARENT, ""),
        )

    def _guarded(self, where: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - as above
            self._tell(where, error)

    def _tell(self, where: str, error: Exception) -> None:
        self.publisher.counts.add(FAILURES, where)
        _log.error("gateway.failed", extra={"where": where, "error": type(error).__name__})


def _closed() -> Action:
    words = "The gateway cannot check its policy; try again."
    return Action(refusal=Refusal(_UNAVAILABLE, "policy_unavailable", words, 5))


def _read_start(exchange: Exchange, message: Mapping[str, Any]) -> None:
    exchange.status = message["status"]
    for name, value in message.get("headers") or ():
        lowered = bytes(name).lower()
        if lowered == b"content-type":
            exchange.event_stream = bytes(value).lower().startswith(b"text/event-stream")
        elif lowered == b"content-encoding":
            exchange.response_encoding = bytes(value).decode("latin-1").strip().lower()


def _wanted(settings: GatewayConfiguration) -> dict[bytes, str]:
    """Give the headers that are read; the others of a request are not even decoded."""
    named = (settings.gateway_organization_header.lower(), settings.gateway_address_header.lower())
    names = {*settings.gateway_account_headers, *named, "user-agent", "content-encoding", TRACEPARENT} - {""}
    return {name.encode("latin-1"): name for name in names}


def _headers(scope: Mapping[str, Any], wanted: Mapping[bytes, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope.get("headers") or ():
        known = wanted.get(bytes(name).lower())
        if known is not None:
            found.setdefault(known, bytes(value).decode("latin-1"))
    return found


async def _send_with_headers(send: Send, headers: tuple[tuple[bytes, bytes], ...], message: Message) -> None:
    if message["type"] == "http.response.start":
        message = {**message, "headers": [*(message.get("headers") or ()), *headers]}
    await send(message)
