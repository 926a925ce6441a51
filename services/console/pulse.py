"""What is to do now, looked up at most every two seconds for everybody who asks."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import SQLAlchemyError

from services.adapters.postgres.queue import FACETS, TO_DO, QueueFilter
from services.console.counting import FacetCounts

if TYPE_CHECKING:
    from services.api.context import ApiContext

LOOK_SECONDS: Final = 2.0
_STATE, _SEVERITY = FACETS.index("state"), FACETS.index("severity")


@dataclass(frozen=True, slots=True)
class Beat:
    """What is to do now. ``raised`` counts every alert that there ever was: its growth is what is new."""

    open: int
    critical: int
    raised: int
    healthy: bool = True


class Pulse:
    """Looks at the queue when asked and the last look is old; a database that is away is told, not raised."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self.counts = FacetCounts(context.clock)  # One for the pulse and the queue's page.
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._beat = Beat(open=0, critical=0, raised=0, healthy=False)

    def read(self) -> Beat:
        """Give the newest beat, at most ``LOOK_SECONDS`` old."""
        with self._lock:
            now = self._context.clock.monotonic()
            if now - self._looked >= LOOK_SECONDS:
                self._beat = self._look()
                self._looked = now
            return self._beat

    def _look(self) -> Beat:
        try:
            with self._context.transaction() as session:
                cube = self.counts.cube(session, self._context.tenant, QueueFilter())
        except SQLAlchemyError:
            return Beat(self._beat.open, self._beat.critical, self._beat.raised, healthy=False)
        counts = [(row[_SEVERITY], row[_STATE], row[-1]) for row in cube]
        return Beat(
            open=sum(number for _, state, number in counts if state in TO_DO),
            critical=sum(number for severity, state, number in counts if state in TO_DO and severity == "critical"),
            raised=sum(number for _, _, number in counts),
        )
