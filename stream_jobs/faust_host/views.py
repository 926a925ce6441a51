"""Compacted and small topics held in memory, read up to the present end whenever a job asks.

Reading on demand gives the order that two agents cannot: when a label is at hand, the alert that it speaks of is in
its topic already, so catching up finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from detection.policy.entitlements import Entitlements
from schemas.entitlement import Entitlement
from schemas.topics import ENTITLEMENTS
from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    from stream_jobs.faust_host.ports import Record, TopicLog

_decoder: Final = msgspec.json.Decoder(Entitlement)


class EntitlementsView:
    """All entitlements, by their record key. A tombstone ends one: it is told once more, valid until 0."""

    def __init__(self, log: TopicLog) -> None:
        self._log = log
        self._positions: dict[int, int] = {}
        self._by_key: dict[bytes, Entitlement] = {}
        self._known = Entitlements()

    async def catch_up(self) -> list[Entitlement]:
        """Read what is new; gives it in order."""
        records, self._positions = await self._log.read(ENTITLEMENTS, self._positions)
        new = [found for found in map(self._take, records) if found is not None]
        for each in new:
            self._known.entitle(each)
        return new

    def covers(self, account: str, organization: str, time_ms: int) -> bool:
        """Say whether a valid entitlement names the account or its organisation at this time."""
        return self._known.covers((account, organization), time_ms)

    def _take(self, record: Record) -> Entitlement | None:
        key = record.key or b""
        if record.value is None:
            ended = self._by_key.pop(key, None)
            return ended and msgspec.structs.replace(ended, valid_until_unix_ms=0)
        try:
            entitlement = _decoder.decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Dead letters belong to the group that owns a topic's offsets; a view may meet the record at every start.
            get_logger().error("entitlement.unreadable", topic=record.topic, offset=record.offset)
            return None
        self._by_key[key] = entitlement
        return entitlement
