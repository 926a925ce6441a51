"""What labels need to know of the alerts they speak of, by id and revision, read up to the end when asked."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec

from schemas.alert import decode_alert
from schemas.topics import ALERTS
from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.alert import Alert
    from stream_jobs.faust_host.ports import Record, TopicLog

T = TypeVar("T")
MAXIMUM_ALERTS: Final = 50_000  # Incidents; the one that grew least recently goes first.


class AlertsView(Generic[T]):
    """Revisions of the newest incidents. ``keep`` says what is held of one: whole alerts would fill the memory."""

    def __init__(self, log: TopicLog, keep: Callable[[Alert], T], maximum: int = MAXIMUM_ALERTS) -> None:
        self._log = log
        self._keep = keep
        self._maximum = maximum
        self._positions: dict[int, int] = {}
        self._kept: OrderedDict[str, dict[int, T]] = OrderedDict()

    async def find(self, alert_id: str, revision: int) -> T | None:
        """Give what is held of the alert at this revision, else at the nearest one before, else None."""
        if revision not in self._kept.get(alert_id, {}):
            # A label follows its alert through Postgres, so the alert is on its topic by now.
            records, self._positions = await self._log.read(ALERTS, self._positions)
            for record in records:
                self._take(record)
        revisions = self._kept.get(alert_id, {})
        nearest = max((known for known in revisions if known <= revision), default=None)
        return None if nearest is None else revisions[nearest]

    def _take(self, record: Record) -> None:
        try:
            alert = decode_alert(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            get_logger().error("alert.unreadable", topic=record.topic, offset=record.offset)
            return
        self._kept.setdefault(alert.alert_id, {})[alert.revision] = self._keep(alert)
        self._kept.move_to_end(alert.alert_id)
        if len(self._kept) > self._maximum:
            self._kept.popitem(last=False)
