"""Contribution rows that wait for their hop to close, and the offset from which they can be read again.

Nothing here is durable. Every row that waits came in a block at or above ``resume()``, so after a restart the blocks
from there on bring back exactly these rows; rows of hops that are closed already are left out by ``add``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detection.columns import CONTRIBUTION

if TYPE_CHECKING:
    from detection.columns import StructuredArray


class Pending:
    """Rows by hop, for hops above ``closed``."""

    def __init__(self) -> None:
        self._rows: dict[int, list[StructuredArray]] = {}
        self._offsets: dict[int, int] = {}  # Lowest offset that has rows of the hop.

    def add(self, rows: StructuredArray, offset: int, closed: int) -> None:
        """Keep the rows above ``closed``; offsets ascend from call to call."""
        hops = rows["hop"]
        for hop in np.unique(hops).tolist():
            if hop > closed:
                self._rows.setdefault(hop, []).append(rows[hops == hop])
                self._offsets.setdefault(hop, offset)

    def ripe(self, closed: int) -> list[int]:
        """Give the hops up to ``closed`` that have rows, ascending."""
        return sorted(hop for hop in self._rows if hop <= closed)

    def take(self, hop: int) -> StructuredArray:
        """Give one hop's rows, in the order of their arrival, and let them go."""
        del self._offsets[hop]
        parts = self._rows.pop(hop)
        return np.concatenate(parts) if parts else np.empty(0, CONTRIBUTION)

    def resume(self, following: int) -> int:
        """Give the lowest offset that must be read again; ``following`` where nothing waits."""
        return min(self._offsets.values(), default=following)
