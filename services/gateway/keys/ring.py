"""A key ring: the keys of one installation, newest first, as text that fits a file, an environment or a KMS' answer.

    3:5f0c...e1 linked        the key in use; its ids of customers may be linked to those of the key before
    2:91ab...07               the key before, while the two overlap

One line, or one part between commas, for each key; a bare secret is a ring of one, with the version of the setting
STILLWATCH_KEY_VERSION. Secrets have 32 characters or more; those that `stillwatch keys rotate` makes are 32 random
bytes in hexadecimal.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MINIMUM_KEY_BYTES: Final = 32
HIGHEST_VERSION: Final = 65_535
_LINE: Final = re.compile(r"(?P<version>[0-9]{1,5}):(?P<secret>\S{32,})(?P<linked> linked)?", re.ASCII)
_HINT: Final = "Set STILLWATCH_HMAC_KEY to the output of `openssl rand -hex 32`."


@dataclass(frozen=True, slots=True)
class RingKey:
    """One key; its repr tells no secret. ``linked``: its ids of customers are looked up in the sealed mapping."""

    version: int
    secret: bytes
    linked: bool = False

    def __repr__(self) -> str:
        """Hide the secret."""
        return f"RingKey({self.version})"

    @property
    def fingerprint(self) -> str:
        """Tell this key from others without telling it: 8 digits."""
        return hashlib.blake2b(self.secret, digest_size=4, person=b"key fingerprint").hexdigest()


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The key in use, and the one before while the two overlap."""

    active: RingKey
    previous: RingKey | None = None

    def rotated(self, random: Callable[[int], bytes] = os.urandom) -> KeyRing:
        """Give the ring with a new key in front; raises ConfigurationError while an overlap is on."""
        if self.previous is not None:
            raise ConfigurationError(
                f"keys {self.active.version} and {self.previous.version} still overlap",
                "End the overlap with `stillwatch keys retire` first.",
            )
        if self.active.version >= HIGHEST_VERSION:
            raise ConfigurationError(f"the key version is at its highest, {HIGHEST_VERSION}")
        fresh = RingKey(self.active.version + 1, random(MINIMUM_KEY_BYTES).hex().encode(), linked=True)
        return KeyRing(fresh, self.active)

    def retired(self) -> KeyRing:
        """Give the ring without the key before; raises ConfigurationError where there is none."""
        if self.previous is None:
            raise ConfigurationError("there is no key to retire", "`stillwatch keys status` shows what is in use.")
        return KeyRing(self.active)

    def text(self) -> str:
        """Write the ring as ``parse_ring`` reads it."""
        keys = [self.active] if self.previous is None else [self.active, self.previous]
        return "".join(f"{key.version}:{key.secret.decode()}{' linked' if key.linked else ''}\n" for key in keys)


def parse_ring(text: str, version: int) -> KeyRing:
    """Read a ring; ``version`` is that of a bare secret. Raises ConfigurationError, which quotes nothing of it."""
    stripped = text.strip()
    parts = [part.strip() for part in re.split(r"[\n,]", stripped) if part.strip()]
    found = [_LINE.fullmatch(part) for part in parts]
    if not any(found):
        return KeyRing(RingKey(version, _checked(stripped.encode())))
    if not all(found) or len(parts) > 2:  # noqa: PLR2004 - the key in use and the one before
        raise ConfigurationError("the key ring cannot be read", "See docs/gateways/keys.md for its form.")
    keys = [RingKey(int(each["version"]), each["secret"].encode(), bool(each["linked"])) for each in found if each]
    if len(keys) > 1 and keys[0].version <= keys[1].version:
        raise ConfigurationError("the key ring is not in order", "The newest key comes first.")
    if keys[0].version > HIGHEST_VERSION:
        raise ConfigurationError(f"a key version is at most {HIGHEST_VERSION}")
    return KeyRing(keys[0], keys[1] if len(keys) > 1 else None)


def _checked(secret: bytes) -> bytes:
    if len(secret) < MINIMUM_KEY_BYTES:
        raise ConfigurationError(f"the identifier key has {len(secret)} bytes; {MINIMUM_KEY_BYTES} are wanted", _HINT)
    return secret


def write_ring(path: Path, ring: KeyRing) -> None:
    """Put a ring in place of the one in the file, all or nothing, readable by its owner alone."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(ring.text())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
