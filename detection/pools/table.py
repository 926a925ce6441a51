"""Growable columnar rows with a sorted index of their keys: batch look-up, batch insertion, reused slots.

Slots differ between runs, so nothing that leaves the state may depend on them: callers sort by key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from detection.columns import Int64Array, StructuredArray, UInt64Array

_FIRST_CAPACITY = 256


class Table:
    """Rows of one dtype by 64-bit key. ``rows[slot]`` is valid for the slots that look-ups give."""

    def __init__(self, layout: np.dtype[np.void]) -> None:
        self.rows: StructuredArray = np.zeros(_FIRST_CAPACITY, layout)
        self.alive = np.zeros(_FIRST_CAPACITY, bool)
        self.dirty = np.zeros(_FIRST_CAPACITY, bool)
        self._keys: UInt64Array = np.empty(0, np.uint64)
        self._slots: Int64Array = np.empty(0, np.int64)
        self._free: Int64Array = np.arange(_FIRST_CAPACITY - 1, -1, -1)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, keys: UInt64Array) -> Int64Array:
        """Give the slot of each key, -1 where it has none."""
        if not len(self._keys):
            return np.full(len(keys), -1, np.int64)
        place = np.searchsorted(self._keys, keys)
        place[place == len(self._keys)] = 0
        return np.where(self._keys[place] == keys, self._slots[place], -1)

    def insert(self, keys: UInt64Array) -> Int64Array:
        """Make zeroed rows for keys that are new, distinct and ascending; give their slots."""
        count = len(keys)
        while len(self._free) < count:
            self._grow()
        slots = self._free[len(self._free) - count :][::-1].copy()
        self._free = self._free[: len(self._free) - count]
        self.rows[slots] = np.zeros(1, self.rows.dtype)
        self.alive[slots] = True
        places = np.searchsorted(self._keys, keys)
        self._keys = np.insert(self._keys, places, keys)
        self._slots = np.insert(self._slots, places, slots)
        return slots

    def remove(self, keys: UInt64Array) -> None:
        """Free the rows of these keys, which must exist."""
        places = np.searchsorted(self._keys, keys)
        slots = self._slots[places]
        self.alive[slots] = False
        self.dirty[slots] = False
        self._free = np.concatenate([self._free, slots])
        self._keys = np.delete(self._keys, places)
        self._slots = np.delete(self._slots, places)

    def slots(self) -> Int64Array:
        """Give the slots of all rows, in the order of their keys."""
        return self._slots

    def take_dirty(self) -> Int64Array:
        """Give the slots of rows that changed since the last call, and forget that they did."""
        slots = np.flatnonzero(self.dirty)
        self.dirty[slots] = False
        return slots

    def _grow(self) -> None:
        before = len(self.rows)
        self.rows = np.concatenate([self.rows, np.zeros(before, self.rows.dtype)])
        self.alive = np.concatenate([self.alive, np.zeros(before, bool)])
        self.dirty = np.concatenate([self.dirty, np.zeros(before, bool)])
        self._free = np.concatenate([np.arange(2 * before - 1, before - 1, -1), self._free])
