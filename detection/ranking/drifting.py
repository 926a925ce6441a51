"""Whether a lane's scores still come from where they came: ADWIN over its incidents, one after the other.

It tells and proposes; nothing here, or behind it, moves a threshold, a bar or a reference by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from detection.detectors.tail import certainty
from detection.ranking.bars import LANES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.ranking.proposing import Standing

DELTA: Final = 0.002  # River's own: chance of a false alarm at each look.
_CLOCK: Final = 1  # Incidents are few: look at each.
_DIGITS: Final = 4


class Shift(NamedTuple):
    """A change: the lane, the hop in which it showed, and the mean certainty before and after, 0..1."""

    lane: str
    hop: int
    before: float
    after: float


class DriftWatch:
    """One detector for each lane, over ``certainty``, which is bounded as ADWIN's guarantee asks."""

    def __init__(self) -> None:
        self._lanes: dict[str, Any] = {}
        self._until = -1

    def watch(self, standing: Sequence[Standing], closed_hop: int) -> list[Shift]:
        """Take the incidents of the hops that have closed since the last call, eldest first; gives what changed."""
        shifts: list[Shift] = []
        for one in standing:
            if not self._until < one.hop <= closed_hop or one.lane not in LANES:
                continue
            detector = self._detector(one.lane)
            before = float(detector.estimation)
            detector.update(certainty(one.ratio, 1.0))
            if detector.drift_detected:
                shifts.append(
                    Shift(one.lane, one.hop, round(before, _DIGITS), round(float(detector.estimation), _DIGITS))
                )
        self._until = max(self._until, closed_hop)
        return shifts

    def _detector(self, lane: str) -> Any:
        # River's drift detectors bring scipy along: seconds that a start without incidents need not wait for.
        from river.drift import ADWIN  # noqa: PLC0415 - as told above

        if lane not in self._lanes:
            self._lanes[lane] = ADWIN(delta=DELTA, clock=_CLOCK)  # type: ignore[no-untyped-call] # River has no types.
        return self._lanes[lane]
