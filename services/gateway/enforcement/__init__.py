"""Decisions at the gateway: followed, checked, kept in memory, and applied to requests.

Named by STILLWATCH_GATEWAY_ENFORCER=services.gateway.enforcement:make_enforcer. Needs the package ``cryptography``
besides what the gateway library needs.
"""

from __future__ import annotations

from services.gateway.enforcement.making import make_enforcer

__all__ = ["make_enforcer"]
