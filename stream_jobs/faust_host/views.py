"""Compacted and small topics held in memory, read up to the present end whenever a job asks.

Reading on demand gives the order that two agents cannot: when a label is at hand, the alert that it speaks of is in
its topic already, so catching up finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from detection.policy.entitlements import Entitlements
from schemas.entitlement import Entitlement
from schemas.model_version import SUPERVISED, ModelVersion, model_key
from schemas.topics import ENTITLEMENTS, MODELS
from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    from stream_jobs.faust_host.ports import Record, TopicLog

_decoder: Final = msgspec.json.Decoder(Entitlement)
_model_decoder: Final = msgspec.json.Decoder(ModelVersion)
_LIVE: Final = model_key(SUPERVISED, "live")


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


class LiveHeadView:
    """The supervised head that a person has promoted: ``head`` is None before the first, and after a retirement."""

    def __init__(self, log: TopicLog) -> None:
        self._log = log
        self._positions: dict[int, int] = {}
        self.head: ModelVersion | None = None

    async def catch_up(self) -> bool:
        """Read what is new; tell whether the head is another one than before."""
        records, self._positions = await self._log.read(MODELS, self._positions)
        before = self.head
        for record in records:
            if record.key == _LIVE:
                self._take(record)
        return self.head != before

    def _take(self, record: Record) -> None:
        if record.value is None:
            self.head = None
            return
        try:
            version = _model_decoder.decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # As for entitlements: a view may meet the record at every start. What was in use stays in use.
            get_logger().error("model.unreadable", topic=record.topic, offset=record.offset)
            return
        self.head = version if version.stage == "live" else None
