"""Compacted and small topics held in memory, read up to the present end whenever a job asks.

Reading on demand gives the order that two agents cannot: when a label is at hand, the alert that it speaks of is in
its topic already, so catching up finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from detection.policy.entitlements import Entitlements
from schemas.entitlement import Entitlement
from schemas.model_version import ModelVersion, model_key
from schemas.topics import ENTITLEMENTS, MODELS
from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_jobs.faust_host.ports import Record, TopicLog

_decoder: Final = msgspec.json.Decoder(Entitlement)
_model_decoder: Final = msgspec.json.Decoder(ModelVersion)


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


class LiveModelsView:
    """The models that a person has promoted, by name: none before the first promotion, and after a retirement."""

    def __init__(self, log: TopicLog, models: Sequence[str]) -> None:
        self._log = log
        self._positions: dict[int, int] = {}
        self._keys = {model_key(model, "live"): model for model in models}
        self.live: dict[str, ModelVersion] = {}

    async def catch_up(self) -> set[str]:
        """Read what is new; names the models that are live in another version than before, or live no more."""
        records, self._positions = await self._log.read(MODELS, self._positions)
        before = dict(self.live)
        for record in records:
            model = self._keys.get(record.key or b"")
            if model is not None:
                self._take(model, record)
        return {model for model in self._keys.values() if self.live.get(model) != before.get(model)}

    def _take(self, model: str, record: Record) -> None:
        if record.value is None:
            self.live.pop(model, None)
            return
        try:
            version = _model_decoder.decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # As for entitlements: a view may meet the record at every start. What was in use stays in use.
            get_logger().error("model.unreadable", topic=record.topic, offset=record.offset)
            return
        if version.stage == "live":
            self.live[model] = version
        else:
            self.live.pop(model, None)
