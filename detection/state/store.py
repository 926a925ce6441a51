"""Account rows in one buffer, by slot. Slots are handed out in order of arrival and never show in a result.

Fields are reached by name through ``rows``, and neighbouring fields of one type as one block through ``longs``,
``words`` and ``octets``: one indexed addition moves a whole block. Blocks are views: they end with the next growth, so
take them anew after ``slots_of``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detection.ids import to_hex
from detection.state.records import take
from detection.state.rows import ACCOUNT_ROW, VERSION, WIDTH, offset_of, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import StructuredArray, UInt64Array

SlotArray: TypeAlias = NDArray[np.intp]
Int32Array: TypeAlias = NDArray[np.int32]

# The system backs zeroed memory only where it is touched, so room ahead costs addresses, not memory; growing fourfold
# then copies each row a third of a time on average.
_FIRST: Final = 1 << 14
_GROWTH: Final = 4


class RowStore:
    """Rows of ``ACCOUNT_ROW``, one for each account that the partition has met."""

    def __init__(self, capacity: int = _FIRST) -> None:
        self._slots: dict[int, int] = {}
        self._dirty = np.zeros(capacity, np.bool_)
        self._buffer = np.zeros(capacity * (WIDTH // 8), np.int64)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def rows(self) -> StructuredArray:
        """Rows in use, writable."""
        return self._buffer.view(ACCOUNT_ROW)[: len(self._slots)]

    @property
    def longs(self) -> NDArray[np.int64]:
        """All rows as 8-byte words, flat; a row has ``WIDTH / 8``."""
        return self._buffer

    @property
    def words(self) -> Int32Array:
        """All rows as 4-byte words, flat."""
        return self._buffer.view(np.int32)

    @property
    def octets(self) -> NDArray[np.uint8]:
        """All rows as bytes, flat."""
        return self._buffer.view(np.uint8)

    def counters_block(self, first: str, count: int) -> Int32Array:
        """View ``count`` neighbouring 4-byte fields as columns, shape ``(capacity, count)``."""
        start = offset_of(first) // 4
        return self.words.reshape(-1, WIDTH // 4)[:, start : start + count]

    def sums_block(self, first: str, count: int) -> NDArray[np.int64]:
        """View ``count`` neighbouring 8-byte fields as columns, shape ``(capacity, count)``."""
        start = offset_of(first) // 8
        return self._buffer.reshape(-1, WIDTH // 8)[:, start : start + count]

    def slots_of(self, accounts: UInt64Array) -> SlotArray:
        """Find each account's slot, making an empty row where there is none."""
        ids = accounts.tolist()
        known = self._slots
        try:
            return np.array(list(map(known.__getitem__, ids)), np.intp)
        except KeyError:
            before = len(known)
            for account in ids:
                if account not in known:
                    known[account] = len(known)
            self._open(before)
        return np.array(list(map(known.__getitem__, ids)), np.intp)

    def _open(self, before: int) -> None:
        """Start the rows of the accounts that were added since there were ``before``."""
        needed = len(self._slots)
        capacity = len(self._dirty)
        if needed > capacity:
            while capacity < needed:
                capacity *= _GROWTH
            buffer, dirty = np.zeros(capacity * (WIDTH // 8), np.int64), np.zeros(capacity, np.bool_)
            buffer[: before * (WIDTH // 8)] = self._buffer[: before * (WIDTH // 8)]
            dirty[:before] = self._dirty[:before]
            self._buffer, self._dirty = buffer, dirty
        fresh = self.rows[before:]
        fresh["version"] = VERSION
        fresh["asof"] = -1
        fresh["pane_hop"] = -1
        fresh["account"] = np.fromiter(list(self._slots)[before:], np.uint64, needed - before)

    def touch(self, slots: SlotArray) -> None:
        """Mark rows as changed."""
        self._dirty[slots] = True

    def take_dirty(self) -> tuple[list[bytes], list[bytes]]:
        """Give keys (16 hexadecimal digits) and bytes of the rows changed since the last call, in order of account."""
        changed = np.flatnonzero(self._dirty[: len(self._slots)])
        self._dirty[changed] = False
        rows = take(self.rows, changed[np.argsort(self.rows["account"][changed])])
        raw = rows.tobytes()
        keys = [to_hex(account).encode() for account in rows["account"].tolist()]
        return keys, [raw[start : start + WIDTH] for start in range(0, len(raw), WIDTH)]

    def load(self, values: Sequence[bytes]) -> None:
        """Put rows in place, in order: the later of two rows of one account wins."""
        if not values:
            return
        rows = read_rows(values)
        slots = self.slots_of(np.ascontiguousarray(rows["account"]))
        latest = dict(zip(slots.tolist(), range(len(slots)), strict=True))
        self.rows[list(latest)] = rows[list(latest.values())]
