"""Contribution rows that wait for their hop to close, and the offset from which they can be read again.

Nothing here is durable. Every row that waits came in a block at or above ``resume()``, so after a restart the blocks
from there on bring back exactly these rows; rows of hops that are closed already are left out by ``add``.
"""

from __future__ import annotations

import numpy as np

from detection.pools.contributions import Contributions


class Pending:
    """Rows by hop, for hops above ``closed``."""

    def __init__(self) -> None:
        self._rows: dict[int, list[Contributions]] = {}
        self._offsets: dict[int, int] = {}  # Lowest offset that has rows of the hop.

    def add(self, rows: Contributions, offset: int, closed: int) -> None:
        """Keep the rows above ``closed``; offsets ascend from call to call."""
        for hop in np.unique(np.concatenate([rows.rows["hop"], rows.singles["hop"]])).tolist():
            if hop > closed:
                part = Contributions(rows.rows[rows.rows["hop"] == hop], rows.singles[rows.singles["hop"] == hop])
                self._rows.setdefault(hop, []).append(part)
                self._offsets.setdefault(hop, offset)

    def ripe(self, closed: int) -> list[int]:
        """Give the hops up to ``closed`` that have rows, ascending."""
        return sorted(hop for hop in self._rows if hop <= closed)

    def take(self, hop: int) -> Contributions:
        """Give one hop's rows, and let them go."""
        del self._offsets[hop]
        return Contributions.join(self._rows.pop(hop))

    def resume(self, following: int) -> int:
        """Give the lowest offset that must be read again; ``following`` where nothing waits."""
        return min(self._offsets.values(), default=following)
