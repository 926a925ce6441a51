"""The gateway library as pure ASGI middleware.

With vLLM: ``vllm serve MODEL --middleware services.gateway.middleware.StillwatchMiddleware``.

Needs the extra ``gateway`` and nothing of the server: a test imports it with the server's libraries blocked.
"""

from __future__ import annotations

from services.gateway.middleware.app import StillwatchMiddleware

__all__ = ["StillwatchMiddleware"]
