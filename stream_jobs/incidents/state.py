"""The incidents job's state on its compacted topic: one blob, compressed, in parts, with the offset that it includes.

Two slots take turns, so a crash between two parts leaves the other slot whole, whatever compaction removed. The reader
takes the complete state that includes most; a worker that wakes up late may write an older one and harms nobody, for
what lies between that state and the present is read again from the findings.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

import msgspec

from schemas.topics import INCIDENTS_STATE
from stream_jobs.faust_host.ports import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_jobs.faust_host.ports import Outbox, Record, TopicLog

VERSION: Final = 1
PART_BYTES: Final = 4 << 20
SLOTS: Final = ("a", "b")
FIRST_WINDOW: Final = 64  # Records; a state is one part or a few, so the last records nearly always hold one.
_LEVEL: Final = 1  # The blob is written every few seconds; the highest levels cost ten times as much.


class StatePart(msgspec.Struct, frozen=True, array_like=True, tag=f"incidents_state.v{VERSION}"):
    """One part of a blob. ``asof`` is the offset of the last finding that the blob includes."""

    asof: int
    part: int
    parts: int
    data: bytes


class SavedState(msgspec.Struct, frozen=True):
    """A state as it was saved, and the slot that it stands in."""

    asof: int
    blob: bytes
    slot: str


class UnreadableStateError(Exception):
    """The saved state is of another version: run the release that wrote it, or empty the topic to rebuild."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StatePart)


def split(asof: int, blob: bytes, slot: str) -> list[Outgoing]:
    """Cut a blob into records of one slot, in order."""
    packed = zlib.compress(blob, _LEVEL)
    chunks = [packed[start : start + PART_BYTES] for start in range(0, len(packed), PART_BYTES)]
    return [
        Outgoing(INCIDENTS_STATE, f"{slot}.{part}".encode(), _encoder.encode(StatePart(asof, part, len(chunks), chunk)))
        for part, chunk in enumerate(chunks)
    ]


def newest(records: Iterable[Record]) -> SavedState | None:
    """Give the complete state that includes most; None where none is complete. Raises UnreadableStateError."""
    slots: dict[str, dict[int, StatePart]] = {}
    found: SavedState | None = None
    for record in records:
        if record.key is None or record.value is None:
            continue
        slot = record.key.decode().partition(".")[0]
        try:
            part = _decoder.decode(record.value)
        except msgspec.DecodeError as error:
            raise UnreadableStateError(f"offset {record.offset} of {record.topic}: {error}") from None
        parts = slots.setdefault(slot, {})
        parts[part.part] = part
        same = [
            each
            for each in (parts.get(index) for index in range(part.parts))
            if each is not None and (each.asof, each.parts) == (part.asof, part.parts)
        ]
        if len(same) == part.parts and (found is None or part.asof >= found.asof):
            found = SavedState(part.asof, b"".join(each.data for each in same), slot)
    return found and SavedState(found.asof, zlib.decompress(found.blob), found.slot)


class StateStore:
    """Loads and saves. One writer at a time is expected; two do no harm."""

    def __init__(self, outbox: Outbox, log: TopicLog) -> None:
        self._outbox = outbox
        self._log = log
        self._next = SLOTS[0]

    async def load(self, window: int = FIRST_WINDOW) -> SavedState | None:
        """Read the newest complete state from the topic's end backwards; None where there is none.

        ``window`` is how many records are read at first.
        """
        ((begin, end),) = (await self._log.bounds(INCIDENTS_STATE)).values()
        while True:
            start = max(begin, end - window)
            records, _ = await self._log.read(INCIDENTS_STATE, {0: start})
            found = newest(records)
            if found is not None or start == begin:
                break
            window *= 8
        if found is not None:
            self._next = SLOTS[1 - SLOTS.index(found.slot)]
        return found

    async def save(self, asof: int, blob: bytes) -> int:
        """Write a state into the slot that does not hold the newest one; gives the bytes written."""
        parts = split(asof, blob, self._next)
        await self._outbox.send(parts)
        self._next = SLOTS[1 - SLOTS.index(self._next)]
        return sum(len(part.value or b"") for part in parts)
