"""Contributions between two checkpoints: what each account adds to each pool in each hop, added up as requests come.

A contribution of one request is a reference to that request; from the second one on it has a row of sums of its own.
The families that say how a request was made (settings, network, payment) repeat from request to request, so they are
added up in cells first, one for all requests of an account that agree in all of them, and cells go to pools at the end.
Sums, minima and maxima only: the order of requests cannot show, and rows of several takes add up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detection.accounts import adding
from detection.columns import CONTRIBUTION, SINGLE
from detection.pools.contributions import Contributions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detection.columns import StructuredArray

_FIRST: Final = 1 << 10
_FAMILIES_OF_A_CELL: Final = 9


class Tally:
    """Contributions of one partition since the last ``take``. Compiled loops add to it through ``arguments``."""

    def __init__(self) -> None:
        self._index = np.full(4 * _FIRST, -1, np.int32)
        self._entries = np.empty((_FIRST, adding.ENTRY_WORDS), np.int64)
        self._requests = np.empty((_FIRST, adding.REQUEST_WORDS), np.int64)
        self._sums = np.empty((_FIRST, adding.SUM_WORDS), np.int64)
        self._sizes = np.zeros(3, np.int64)  # Entries, requests and rows of sums in use.

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Index, entries, requests, sums and sizes, as the compiled loops take them."""
        return self._index, self._entries, self._requests, self._sums, self._sizes

    def reserve(self, requests: int) -> None:
        """Make room for so many requests more, whatever they add to."""
        entries, held, sums = self._sizes.tolist()
        most = adding.MOST_OF_A_REQUEST * requests
        self._requests = _longer(self._requests, held + requests)
        self._reserve(entries + most, sums + most)

    def _reserve(self, entries: int, sums: int) -> None:
        self._entries = _longer(self._entries, entries)
        self._sums = _longer(self._sums, sums)
        if len(self._index) < 2 * len(self._entries):
            self._index = np.full(4 * len(self._entries), -1, np.int32)
            adding.index_again(self._index, self._entries, self._sizes)

    def latest(self, count: int) -> StructuredArray:
        """Give the last requests that were added, in their order, as rows of ``SINGLE`` without pool and family."""
        held = int(self._sizes[1])
        words = np.ascontiguousarray(self._requests[held - count : held, : adding.SINGLE_WORDS])
        return words.view(SINGLE).reshape(-1)

    def take(self, partitions: int = 1) -> Contributions:
        """Give one row for each (hop, pool, customer, account), by the partition of its pool, and start afresh."""
        entries, held, sums = self._sizes.tolist()
        if not held:
            return Contributions()
        more = _FAMILIES_OF_A_CELL * adding.cells(self._entries, entries)
        self._reserve(entries + more, sums + more)
        adding.settle(entries, *self.arguments)
        entries = int(self._sizes[0])
        firsts = np.zeros((2, partitions + 1), np.int64)
        adding.place(self._entries, entries, partitions, firsts)
        alone, several = firsts[:, -1].tolist()
        singles = np.empty((alone, SINGLE.itemsize // 8), np.int64)
        rows = np.empty((several, CONTRIBUTION.itemsize // 8), np.int64)
        adding.write(self._entries, entries, self._requests, self._sums, firsts.copy(), singles, rows)
        adding.empty(self._index, self._sizes)
        return Contributions(rows.view(CONTRIBUTION).reshape(-1), singles.view(SINGLE).reshape(-1), firsts)


def _longer(array: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    size = len(array)
    if size >= length:
        return array
    while size < length:
        size *= 2
    grown = np.empty((size, array.shape[1]), np.int64)
    grown[: len(array)] = array
    return grown
