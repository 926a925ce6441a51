"""The limit on invalid records: a producer that writes rubbish stops the job, instead of a drained topic."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from stream_jobs.engine.errors import TooManyInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_jobs.engine.job import Rejection

MINIMUM_RECORDS: Final = 1_000
WINDOW_RECORDS: Final = 20_000


class InvalidLimit:
    """Share of invalid records among the last ``WINDOW_RECORDS`` or so; counts are halved when they reach that.

    The counts are part of a partition's checkpoint: a restart neither forgets them nor gives the producer a new try.
    """

    def __init__(self, ratio: float, seen: int = 0, rejected: int = 0) -> None:
        self._ratio = ratio
        self.seen = seen
        self.rejected = rejected
        self._reasons: Counter[str] = Counter()

    def add(self, seen: int, rejections: Sequence[Rejection]) -> None:
        """Count a batch; raises TooManyInvalidError above the ratio, from ``MINIMUM_RECORDS`` records on."""
        self.seen += seen
        if rejections:
            self.rejected += len(rejections)
            self._reasons.update(rejection.reason for rejection in rejections)
            if self.seen >= MINIMUM_RECORDS and self.rejected > self._ratio * self.seen:
                raise TooManyInvalidError(
                    f"{self.rejected} of the last {self.seen} records are invalid, more than {self._ratio:.0%}: "
                    + ", ".join(f"{reason} {count}" for reason, count in self._reasons.most_common(5))
                )
        if self.seen >= WINDOW_RECORDS:
            self.seen //= 2
            self.rejected //= 2
            self._reasons.clear()
