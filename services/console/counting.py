"""Facets of the queue: counted once for everybody, until something has changed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from services.adapters.postgres import queue

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from services.adapters.clock import Clock

# What time alone changes, as the end of a snooze, is seen after this long.
KEPT_SECONDS: Final = 10.0
_VIEWS: Final = 64


class FacetCounts:
    """Keeps cubes of counts. An act and a stored alert end a cube at once, so nobody sees a count before their act."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._cubes: dict[tuple[str, str | None, str | None], tuple[tuple[int, int], float, queue.Cube]] = {}

    def read(self, session: Session, tenant: str, wanted: queue.QueueFilter) -> queue.Facets:
        """Give the facets of a view."""
        return queue.facets_of(self.cube(session, tenant, wanted), wanted)

    def cube(self, session: Session, tenant: str, wanted: queue.QueueFilter) -> queue.Cube:
        """Give the cube that a view's facets are read from."""
        key = (tenant, wanted.organisation, wanted.account)
        # Before the cube: what is committed between the two is in the cube already, and counts it anew the next time.
        mark = queue.change_mark(session, tenant)
        now = self._clock.monotonic()
        with self._lock:
            kept = self._cubes.get(key)
        if kept is None or kept[0] != mark or now - kept[1] >= KEPT_SECONDS:
            kept = (mark, now, queue.facet_cube(session, tenant, wanted))
            with self._lock:
                self._cubes.pop(key, None)
                while len(self._cubes) >= _VIEWS:
                    del self._cubes[next(iter(self._cubes))]
                self._cubes[key] = kept
        return kept[2]
