"""Events on disk while Kafka is away: in order, bounded, and never any text, for only finished events come here.

A spool is a directory of segments of 8 MB, each a run of frames (length, CRC-32, bytes), and a file that says how far
the oldest has been sent. A frame that a crash cut short ends its segment. What was sent and not yet marked so is sent
again after a crash, with the same ids. One process at a time owns a spool: several share a folder by slots.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from typing import TYPE_CHECKING, Final

import msgspec

from services.errors import StillwatchError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

SEGMENT_BYTES: Final = 8 << 20
_FRAME: Final = struct.Struct("<II")
_SUFFIX: Final = ".events"
_PLACE: Final = struct.Struct("<QQ")
_SLOTS: Final = 1024


class SpoolError(StillwatchError):
    """The spool cannot be used."""

    hint = "Name a folder that the gateway may write to with STILLWATCH_GATEWAY_SPOOL_DIR."


class Outgoing(msgspec.Struct, frozen=True, array_like=True):
    """One record as it goes to Kafka."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Outgoing)


class Spool:
    """One process's spool; ``open_spool`` makes one. Not for several threads."""

    def __init__(self, folder: Path, maximum_bytes: int, lock: BinaryIO) -> None:
        self._folder = folder
        self._maximum = maximum_bytes
        self._lock = lock
        self._segments = sorted(int(path.stem) for path in folder.glob(f"*{_SUFFIX}"))
        self._sizes = {number: self._path(number).stat().st_size for number in self._segments}
        self._first, self._offset = self._read_place()
        self._next = self._offset
        self._out: BinaryIO | None = None

    @property
    def empty(self) -> bool:
        """Whether everything in it was sent and marked so."""
        return not self._segments

    @property
    def bytes(self) -> int:
        """What it takes on disk."""
        return sum(self._sizes.values())

    def append(self, record: Outgoing) -> bool:
        """Write one record behind all others; False where it has no room left."""
        data = _encoder.encode(record)
        frame = _FRAME.pack(len(data), zlib.crc32(data)) + data
        if self.bytes + len(frame) > self._maximum:
            return False
        out = self._writing()
        out.write(frame)
        out.flush()
        self._sizes[self._segments[-1]] += len(frame)
        return True

    def read(self, most: int) -> list[Outgoing]:
        """Give the oldest records that ``advance`` has not marked, at most so many; the same ones until it does."""
        if not self._segments:
            return []
        found: list[Outgoing] = []
        self._next = self._offset if self._segments[0] == self._first else 0
        with self._path(self._segments[0]).open("rb") as file:
            file.seek(self._next)
            while len(found) < most:
                head = file.read(_FRAME.size)
                if len(head) < _FRAME.size:
                    break
                length, checksum = _FRAME.unpack(head)
                data = file.read(length)
                if len(data) < length or zlib.crc32(data) != checksum:
                    break  # A crash cut this frame, so nothing whole stands behind it.
                found.append(_decoder.decode(data))
                self._next = file.tell()
        if not found:
            self._drop_oldest()
            return self.read(most)
        return found

    def advance(self) -> None:
        """Mark what the last ``read`` gave as sent."""
        self._first, self._offset = self._segments[0], self._next
        place = self._folder / "place"
        draft = self._folder / "place.new"
        draft.write_bytes(_PLACE.pack(self._first, self._offset))
        draft.replace(place)
        if self._offset >= self._sizes[self._first]:
            self._drop_oldest()

    def close(self) -> None:
        """Hand the spool to whoever opens it next."""
        if self._out is not None:
            self._out.close()
        self._lock.close()

    def _drop_oldest(self) -> None:
        number = self._segments.pop(0)
        if self._out is not None and not self._segments:
            self._out.close()
            self._out = None
        self._path(number).unlink()
        del self._sizes[number]
        self._offset = 0

    def _writing(self) -> BinaryIO:
        if self._out is not None and self._sizes[self._segments[-1]] >= SEGMENT_BYTES:
            self._out.close()
            self._out = None
        if self._out is None:
            number = max(self._segments[-1] if self._segments else 0, self._first) + 1
            descriptor = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._out = os.fdopen(descriptor, "wb")
            self._segments.append(number)
            self._sizes[number] = 0
        return self._out

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}{_SUFFIX}"

    def _read_place(self) -> tuple[int, int]:
        try:
            first, offset = _PLACE.unpack((self._folder / "place").read_bytes())
        except (OSError, struct.error):
            return 0, 0
        return first, offset


def open_spool(folder: Path, maximum_bytes: int) -> Spool:
    """Own the first slot of ``folder`` that no living process owns, with what a dead one left in it; SpoolError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in range(_SLOTS):
            slot = folder / f"slot-{number:03d}"
            slot.mkdir(exist_ok=True, mode=0o700)
            lock = (slot / "lock").open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            return Spool(slot, maximum_bytes, lock)
    except OSError as error:
        raise SpoolError(f"{folder} cannot be used: {error.strerror}") from error
    raise SpoolError(f"{folder}: all {_SLOTS} slots are in use")
