"""Passwords by argon2id, with the parameters that the argon2-cffi project recommends (RFC 9106, low memory)."""

from __future__ import annotations

from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from services.errors import StillwatchError

SHORTEST: Final = 12
LONGEST: Final = 512  # Hashing a novel is a way to keep the server busy.
_hasher: Final = PasswordHasher(type=Type.ID)
# An unknown name costs as much time as a wrong password.
_NOBODY: Final = "$argon2id$v=19$m=65536,t=3,p=4$KQXBCBHRNWKNcnxZ886urw$eU7twF2bMWpsXzi3QB/VYQawntk6r76bL07O4/qnyJY"


class WeakPasswordError(StillwatchError):
    """The password is too short or too long."""

    hint = f"Take {SHORTEST} to {LONGEST} characters."


def hash_password(password: str) -> str:
    """Give the PHC string to keep; raises WeakPasswordError."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise WeakPasswordError("the password cannot be used")
    return _hasher.hash(password)


def verify_password(password: str, kept: str | None) -> bool:
    """Tell whether this is the password; ``kept`` None (nobody, or no password) takes as long and is always wrong."""
    if len(password) > LONGEST:
        return False
    try:
        _hasher.verify(kept if kept is not None else _NOBODY, password)
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False
    return kept is not None


def needs_rehash(kept: str) -> bool:
    """Tell whether the parameters have moved on since this was hashed."""
    return _hasher.check_needs_rehash(kept)
