"""Random tokens, and what is kept of them. A token has 256 random bits, so a plain digest is no help to a guesser."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

KEY_PREFIX: Final = "sw_"  # Lets secret scanners and people see what it is.


def new_token() -> str:
    """Make a token of 43 URL-safe characters."""
    return secrets.token_urlsafe(32)


def new_password() -> str:
    """Make a password that nobody has to like: 20 characters, 120 bits."""
    return secrets.token_urlsafe(15)


def digest(token: str) -> bytes:
    """Give what the database keeps of a token."""
    return hashlib.sha256(token.encode()).digest()


def csrf_of(token: str) -> str:
    """Derive the page's own token from the session's: whoever has no cookie cannot know it."""
    return hmac.new(token.encode(), b"stillwatch csrf", hashlib.sha256).hexdigest()


def same(left: str, right: str) -> bool:
    """Compare without telling by time where two texts part."""
    return hmac.compare_digest(left.encode(), right.encode())
