"""What a server and its publisher process say to each other: frames of a head, and of bytes as they were captured.

    length of the head (4 bytes), length of the bytes (8 bytes), the head (MessagePack), the bytes

Both ends are of one release on one machine, joined by a socket that no other process holds. Heads of the server hold
credentials and settings, so none has a repr.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LENGTHS: Final = struct.Struct("<IQ")
_FEW: Final = 64  # Parts that go as they are; a stream's thousands of chunks are joined first.
_encoder = msgspec.msgpack.Encoder()


class _Head(msgspec.Struct, frozen=True, array_like=True):
    def __repr__(self) -> str:
        """Hide what it holds."""
        return f"{type(self).__name__}(...)"


class Begin(_Head, frozen=True, tag=True):
    """The first frame: the configuration by the names of its settings, and the process to outlive by no more."""

    settings: dict[str, str]
    source: str
    parent: int


class Handed(_Head, frozen=True, tag=True):
    """One piece of work. ``sizes`` cuts the bytes that follow into parts; ``hurry``: tell at once when it is done."""

    number: int
    kind: str
    told: bytes
    sizes: list[int]
    hurry: bool


class Line(msgspec.Struct, frozen=True, array_like=True):
    """A line for the log of the server: an event of the closed table."""

    level: int
    event: str
    extra: dict[str, str | int | float | bool | None]


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What the publisher process tells.

    Work up to number ``taken`` became events; up to ``safe`` they are on Kafka, in the spool, or counted as dropped.
    Counters are what came since the last report, gauges what holds.
    """

    taken: int
    safe: int
    counters: list[tuple[str, tuple[str, ...], int]] = []
    gauges: list[tuple[str, tuple[str, ...], int]] = []
    lines: list[Line] = []


T = TypeVar("T")


def frame(head: Begin | Handed | Report, parts: Sequence[bytes] = ()) -> list[bytes]:
    """Give a frame as buffers in their order, bodies uncopied."""
    encoded = _encoder.encode(head)
    if len(parts) > _FEW:
        parts = [b"".join(parts)]
    return [_LENGTHS.pack(len(encoded), sum(map(len, parts))) + encoded, *filter(None, parts)]


class Incoming(Generic[T]):
    """Puts frames together from bytes that come in any pieces."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[T]) -> None:
        self._decoder = decoder
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[T, bytes]]:
        """Take bytes, and give each frame that is whole: its head and what follows it."""
        self._data += data
        at = 0
        try:
            while len(self._data) - at >= _LENGTHS.size:
                head_length, length = _LENGTHS.unpack_from(self._data, at)
                begin = at + _LENGTHS.size
                end = begin + head_length + length
                if len(self._data) < end:
                    break
                at = end
                with memoryview(self._data) as view:
                    head = self._decoder.decode(view[begin : begin + head_length])
                    body = bytes(view[begin + head_length : end])
                yield head, body
        finally:
            del self._data[:at]


def cut(body: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Cut bytes into parts of these sizes."""
    parts: list[bytes] = []
    at = 0
    for size in sizes:
        parts.append(body[at : at + size])
        at += size
    return parts
