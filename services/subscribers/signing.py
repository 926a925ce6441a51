"""Signatures of webhooks: ``t=<seconds>,v1=<hex>`` with HMAC-SHA-256 over ``<seconds>.<body>``, once for each secret.

A webhook's secrets are derived from one master key, its id and a generation, so that none is kept in the database.
While a secret is turned the old and the new one sign both.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER = "Stillwatch-Signature"


def secret_of(master: bytes, webhook_id: str, generation: int) -> str:
    """Give a webhook's secret of one generation."""
    message = f"stillwatch/webhook/v1/{webhook_id}/{generation}".encode()
    return "whsec_" + hmac.digest(master, message, hashlib.sha256).hex()


def signature(secrets: Iterable[str], body: bytes, seconds: int) -> str:
    """Give the header's value."""
    message = str(seconds).encode() + b"." + body
    signed = [hmac.digest(secret.encode(), message, hashlib.sha256).hex() for secret in secrets]
    return ",".join([f"t={seconds}", *(f"v1={each}" for each in signed)])


def verify(secret: str, header: str, body: bytes, now_seconds: int, tolerance: int = 300) -> bool:
    """Tell whether a header signs this body with this secret, not longer ago than ``tolerance`` seconds.

    What a subscriber does; the example for receivers is this function.
    """
    fields = [part.partition("=") for part in header.split(",")]
    moment = next((value for name, _, value in fields if name == "t"), "")
    if not moment.isascii() or not moment.isdigit() or abs(now_seconds - int(moment)) > tolerance:
        return False
    wanted = hmac.digest(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hex()
    return any(name == "v1" and hmac.compare_digest(value, wanted) for name, _, value in fields)
