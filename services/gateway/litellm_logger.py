"""A logger for LiteLLM's proxy: ``callbacks: services.gateway.litellm_logger.stillwatch_logger`` in its configuration.

Made for the proxy of LiteLLM 1.106.2, in an environment of its own (``deploy/litellm.lock``). Reads the
StandardLoggingPayload that LiteLLM makes of each request and puts it in the publisher's buffer; no hook waits, and no
hook raises but a refusal. Where an enforcer is set, it is asked before each request.

LiteLLM calls with the parameters ``start_time`` and ``end_time`` by name, calls some hooks twice for one request, and
tells of requests that a hook refused as failures: what was told once is not told again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from litellm.integrations.custom_logger import CustomLogger

from services.adapters.clock import SystemClock
from services.gateway.configuration import GatewayConfiguration
from services.gateway.middleware.enforcing import Asked
from services.gateway.middleware.refusing import error_body
from services.gateway.payload import Payload
from services.gateway.publishing.counts import ENFORCED, FAILURES
from services.gateway.publishing.starting import load_enforcer, start_publisher

if TYPE_CHECKING:
    from services.gateway.identity import Identity
    from services.gateway.middleware.enforcing import Action, Enforcer
    from services.gateway.publishing.publisher import Publishing
    from services.gateway.routes import Api

_REMEMBERED: Final = 1 << 16
_APIS: Final[dict[str, Api]] = {
    "embedding": "embeddings",
    "text_completion": "completions",
    "responses": "responses",
    "anthropic_messages": "messages",
}
_log = logging.getLogger("stillwatch.gateway")


class StillwatchLogger(CustomLogger):  # type: ignore[misc]  # LiteLLM is not in this environment: its class is Any
    """Without arguments everything comes from the environment, at the first request."""

    def __init__(self, configuration: GatewayConfiguration | None = None) -> None:
        super().__init__()
        self._configuration = configuration
        self._starting = threading.Lock()
        self._publisher: Publishing | None = None
        self._identity: Identity | None = None
        self._enforcer: Enforcer | None = None
        self._told: OrderedDict[str, None] = OrderedDict()

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Tell of a request that was answered; for a stream at its end."""
        del response_obj, start_time, end_time
        self._tell(kwargs)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Tell of a request that failed."""
        del response_obj, start_time, end_time
        self._tell(kwargs)

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any] | None:
        """Ask the enforcer; raises HTTPException for a refusal, gives the changed request, or None to let it pass."""
        del cache
        publisher = self._ready()
        if self._enforcer is None or self._identity is None:
            return None
        api: Api = _APIS.get(call_type.removeprefix("a"), "chat")
        action = self._decide(publisher, self._enforcer, self._asked(self._identity, user_api_key_dict, api))
        if action is None:
            return None
        if action.finished is not None:
            action.finished()  # The proxy tells no hook of every response's end, so concurrency is not limited here.
        if action.refusal is not None:
            from fastapi import HTTPException  # noqa: PLC0415 - of the proxy's environment, and needed for a refusal alone

            publisher.counts.add(ENFORCED, "refuse")
            retry = action.refusal.retry_after_seconds
            headers = None if retry is None else {"retry-after": str(retry)}
            raise HTTPException(action.refusal.status, error_body(api, action.refusal)["error"], headers)
        if action.transform is not None:
            publisher.counts.add(ENFORCED, "transform")
            return action.transform(data)
        return None

    @property
    def publisher(self) -> Publishing:
        """The publisher, started where it was not."""
        return self._ready()

    def _asked(self, identity: Identity, key: Any, api: Api) -> Asked:
        organization = getattr(key, "org_id", None) or getattr(key, "team_id", None) or ""
        account = identity.account(str(getattr(key, "api_key", "") or ""))
        return Asked(account, identity.identifier("organization", str(organization)), api)

    def _decide(self, publisher: Publishing, enforcer: Enforcer, asked: Asked) -> Action | None:
        try:
            return enforcer.decide(asked)
        except Exception as error:  # noqa: BLE001 - whatever an enforcer raises, the request goes on
            self._failed(publisher, "enforcer", error)
            return None

    def _tell(self, kwargs: Any) -> None:
        publisher = self._ready()
        try:
            payload = kwargs.get("standard_logging_object")
            if not isinstance(payload, dict) or self._knows(payload):
                return
            publisher.offer(Payload(payload, len(str(payload.get("messages"))) + 4096))
        except Exception as error:  # noqa: BLE001 - LiteLLM would print what we raise, prompts and all
            self._failed(publisher, "litellm", error)

    def _knows(self, payload: dict[str, Any]) -> bool:
        """Remember this call; calls that share a client's own id are told apart by LiteLLM's and by their start."""
        mark = f"{payload.get('litellm_call_id')}\0{payload.get('id')}\0{payload.get('startTime')}"
        if mark in self._told:
            return True
        self._told[mark] = None
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        return False

    def _ready(self) -> Publishing:
        with self._starting:
            if self._publisher is None:
                configuration = self._configuration or GatewayConfiguration.from_environment(os.environ)
                self._publisher, self._identity = start_publisher(configuration, SystemClock(), "/gateway/litellm")
                self._enforcer = load_enforcer(configuration, self._publisher.counts)
                if self._enforcer is not None:
                    self._enforcer.start()
            return self._publisher

    @staticmethod
    def _failed(publisher: Publishing, where: str, error: Exception) -> None:
        publisher.counts.add(FAILURES, where)
        _log.error("gateway.failed", extra={"where": where, "error": type(error).__name__})


stillwatch_logger = StillwatchLogger()
