"""The sealed mapping between the ids of one key and those of the key before.

While two keys overlap, customers keep the ids that they had, and every pair of new and old id is put away sealed. When
the old key is gone, the new id finds the old one here, so a customer is one customer across the change. A reader of the
mapping without the key learns neither.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from typing import TYPE_CHECKING, Final, Protocol

from detection.ids import to_hex

if TYPE_CHECKING:
    from collections.abc import Callable

_NONCE: Final = 12
_ID_BYTES: Final = 8


class Links(Protocol):
    """What keeps the mapping of one key version."""

    def find(self, field: str, new: str) -> str | None:
        """Give the id that this one stands for; None where it stands for itself."""

    def remember(self, field: str, new: str, old: str) -> None:
        """Keep a pair; telling it twice changes nothing."""


class Seal:
    """Seals pairs of ids under a secret derived from the key in use: AES-256-GCM, bound to the key's version."""

    def __init__(self, secret: bytes, version: int) -> None:
        # Only where keys are rotated: the gateway library does not load it otherwise.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above

        self._cipher = AESGCM(hashlib.blake2b(secret, digest_size=32, person=b"link seal v1").digest())
        self._names = hashlib.blake2b(secret, digest_size=32, person=b"link names v1").digest()
        self.version = version

    def name(self, field: str, new: str) -> bytes:
        """Name a pair without telling the new id: the record's key on the topic."""
        return f"{self.version}.{hmac.digest(self._names, f'{field}.{new}'.encode(), 'sha256')[:16].hex()}".encode()

    def close(self, field: str, new: str, old: str) -> bytes:
        """Seal a pair."""
        nonce = os.urandom(_NONCE)
        pair = bytes.fromhex(new) + bytes.fromhex(old) + field.encode()
        return nonce + self._cipher.encrypt(nonce, pair, str(self.version).encode())

    def open(self, sealed: bytes) -> tuple[str, str, str] | None:
        """Give field, new and old id; None for what this key did not seal."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as in the constructor

        try:
            pair = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], str(self.version).encode())
        except (InvalidTag, ValueError):
            return None
        return pair[2 * _ID_BYTES :].decode(), pair[:_ID_BYTES].hex(), pair[_ID_BYTES : 2 * _ID_BYTES].hex()


class SealedLinks:
    """The mapping in memory: some 100 bytes a pair. ``send`` gets each new pair's name and sealed bytes. Any thread."""

    def __init__(self, seal: Seal, send: Callable[[bytes, bytes], None] | None = None) -> None:
        self._seal = seal
        self._send = send
        self._pairs: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self._pairs)

    def holds(self, name: bytes) -> bool:
        """Tell by a record's name whether it is of this key."""
        return name.startswith(b"%d." % self._seal.version)

    def load(self, sealed: bytes) -> bool:
        """Take a record of the mapping; False where another key sealed it."""
        opened = self._seal.open(sealed)
        if opened is None:
            return False
        field, new, old = opened
        with self._lock:
            self._pairs[field, int(new, 16)] = int(old, 16)
        return True

    def find(self, field: str, new: str) -> str | None:
        """Give the id that this one stands for."""
        found = self._pairs.get((field, int(new, 16)))
        return None if found is None else to_hex(found)

    def remember(self, field: str, new: str, old: str) -> None:
        """Keep a pair, and send it where it is new here."""
        place = field, int(new, 16)
        with self._lock:
            if self._pairs.get(place) == int(old, 16):
                return
            self._pairs[place] = int(old, 16)
        if self._send is not None:
            self._send(self._seal.name(field, new), self._seal.close(field, new, old))
