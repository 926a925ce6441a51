"""A uniform sample of everything that was seen, of fixed size: the rows whose mixed number is smallest.

A row's place in the sample is decided by a hash of its number in the stream, never by a draw: cutting the stream
elsewhere, or taking it again, keeps the same rows. Unlike a sliding window it cannot be filled by a burst: of a sample
of 4,096 out of a million rows, a burst of a thousand holds about four. Source: bottom-k sketches, Cohen and Kaplan
2007.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detection.ids import mix

if TYPE_CHECKING:
    from detection.columns import Float64Array


class Reservoir:
    """Keeps at most ``size`` rows of ``width`` numbers each."""

    def __init__(self, size: int, width: int, seed: int) -> None:
        self.size = size
        self.seen = 0
        self._seed = np.uint64(seed & 0xFFFF_FFFF_FFFF_FFFF)
        self._order = np.empty(0, np.uint64)
        self._numbers = np.empty(0, np.int64)
        self._rows = np.empty((0, width))

    def add(self, rows: Float64Array) -> None:
        """Take the next rows of the stream, shape ``(n, width)``."""
        numbers = np.arange(self.seen, self.seen + len(rows))
        order = mix(numbers.astype(np.uint64) ^ mix(np.array([self._seed]))[0])
        self.seen += len(rows)
        if len(self._order) == self.size:
            low = order < self._order.max()
            order, numbers, rows = order[low], numbers[low], rows[low]
            if not len(rows):
                return
        self._order = np.concatenate([self._order, order])
        self._numbers = np.concatenate([self._numbers, numbers])
        self._rows = np.concatenate([self._rows, rows])
        if len(self._order) > self.size:
            kept = np.argpartition(self._order, self.size - 1)[: self.size]
            kept = kept[np.argsort(self._numbers[kept])]
            self._order, self._numbers, self._rows = self._order[kept], self._numbers[kept], self._rows[kept]

    @property
    def rows(self) -> Float64Array:
        """The rows that are kept, in the order of the stream."""
        return self._rows
