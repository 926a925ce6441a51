"""The keyed hashes behind every sketch column.

Two stages, as in a Carter-Wegman authenticator: words become 64-bit numbers through secret tables (simple tabulation,
Zobrist 1970; Patrascu and Thorup 2012), which numpy does for a whole text at once; what leaves the process went through
keyed BLAKE2b as well, so a column tells nothing to a reader without the key. Every use has its own domain.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from detection.columns import UInt64Array

WORD_POSITIONS: Final = 16  # Characters 17 and on reuse the tables: a word that long is rarely told by its tail alone.
MINIMUM_SECRET_BYTES: Final = 16
_SEPARATORS: Final = (0x0A, 0x20)
_DOMAINS: Final = ("system", "prefix", "suffix", "segment", "boundary", "turn", "response")


class TextKey:
    """Secret tables and keyed hash states, derived from ``secret`` (any length above 15 bytes; raises ValueError).

    Holds no text. Two keys made from one secret give the same hashes on every machine.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MINIMUM_SECRET_BYTES:
            raise ValueError(f"a text key needs {MINIMUM_SECRET_BYTES} bytes of secret or more")
        stream = hashlib.shake_256(b"stillwatch text tables v1\0" + secret).digest(WORD_POSITIONS * 256 * 8)
        tables = np.frombuffer(stream, "<u8").astype(np.uint64).reshape(WORD_POSITIONS, 256).copy()
        tables[:, _SEPARATORS] = 0
        self.tables: UInt64Array = tables.ravel()
        key = hashlib.blake2b(b"stillwatch text hashes v1\0" + secret, digest_size=32).digest()
        self._states = {name: hashlib.blake2b(key=key, digest_size=8, person=name.encode()) for name in _DOMAINS}
        self._content = hashlib.blake2b(key=key, digest_size=32, person=b"content")

    def state(self, domain: str) -> hashlib.blake2b:
        """Give a fresh hash state of this domain, to be fed piece by piece; its digest has 8 bytes."""
        return self._states[domain].copy()

    def hash(self, domain: str, data: bytes) -> int:
        """Hash bytes to 64 bits, never 0."""
        state = self._states[domain].copy()
        state.update(data)
        return int.from_bytes(state.digest(), "little") or 1

    def digest(self, data: bytes, attachments: tuple[bytes, ...] = ()) -> bytes:
        """Hash what a message says to 32 bytes, for further hashing; every part is framed by its length."""
        state = self._content.copy()
        for piece in (data, *attachments):
            state.update(len(piece).to_bytes(8, "little"))
            state.update(piece)
        return state.digest()
