"""Dead letters read back, and the records they name sent again: as they are, to where they were.

A record is sent again by a person's decision, after what refused it was mended. It goes to the end of its partition
with its key, its bytes and its headers, and one header more that names where it lay before. Progress is kept by topic
and reason in the committed metadata of a group, after each batch that the broker has acknowledged: what was sent again
is not sent a second time, except for one batch at most where this process dies in the middle of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from confluent_kafka import KafkaException, TopicPartition

from schemas.dead_letter import DeadLetter
from schemas.topics import DEAD_LETTERS
from services.adapters.kafka.reading import PATIENCE_SECONDS, open_reader, read_partition
from services.errors import NotRunningError, StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from services.adapters.kafka.producer import RecordProducer

GROUP: Final = "stillwatch-redrive"
HEADER: Final = "stillwatch-redriven-from"
BATCH: Final = 200
_NEAR: Final = 2_000  # Offsets that are cheaper to read over than to seek past.
_decode = msgspec.json.Decoder(DeadLetter).decode


class UnreadableLetterError(StillwatchError):
    """A record of the dead letters is none: something else writes to that topic."""

    hint = "Find its producer by the record's headers; the topics table says who may write there."


class NoSuchLetterError(StillwatchError):
    """Nothing is known of this place."""

    hint = "List what there is with `stillwatch dead-letters list`."


class PlacedLetter(NamedTuple):
    """A letter, and its own offset in the dead letters."""

    offset: int
    letter: DeadLetter


class Original(NamedTuple):
    """The record that a letter names, as the broker still has it."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]
    time_unix_ms: int


@dataclass
class RedriveCounts:
    """What came of a redrive. ``gone`` are records that their topic's retention has deleted."""

    chosen: int = 0
    sent: int = 0
    gone: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)


class DeadLetterBox:
    """Reads the dead letters and what they name. ``config`` is that of ``client_config``; close it."""

    def __init__(self, config: Mapping[str, str | int | float | bool]) -> None:
        self._consumer: Any = open_reader(config, GROUP)

    def close(self) -> None:
        """Free the connection."""
        self._consumer.close()

    def letters(self, since_ms: int = 0) -> Iterator[PlacedLetter]:
        """Give every letter appended at or after ``since_ms``, in order; raises UnreadableLetterError."""
        place = TopicPartition(DEAD_LETTERS.name, 0, since_ms)
        try:
            start = self._consumer.offsets_for_times([place], timeout=PATIENCE_SECONDS)[0].offset
            low, high = self._consumer.get_watermark_offsets(place, timeout=PATIENCE_SECONDS)
        except KafkaException as failure:
            raise NotRunningError(f"the broker does not answer: {failure.args[0].name()}") from failure
        if start < 0 or low >= high:
            return
        for message in self._read(place.topic, 0, max(start, low), high):
            try:
                letter = _decode(message.value() or b"")
            except msgspec.DecodeError as error:
                raise UnreadableLetterError(
                    f"{DEAD_LETTERS.name}[0] at {message.offset()} is no dead letter"
                ) from error
            yield PlacedLetter(message.offset() or 0, letter)

    def original(self, letter: DeadLetter) -> Original | None:
        """Give the record that a letter names; None where the broker has it no more."""
        return next(iter(self.originals([letter])))[1]

    def originals(self, letters: Iterable[DeadLetter]) -> Iterator[tuple[DeadLetter, Original | None]]:
        """Give the records that letters name, by topic, partition and offset, whatever the order of the letters."""
        places: dict[tuple[str, int], dict[int, DeadLetter]] = {}
        for letter in letters:
            places.setdefault((letter.topic, letter.partition), {})[letter.offset] = letter
        for (topic, partition), wanted in sorted(places.items()):
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=PATIENCE_SECONDS)
            for run in _runs(sorted(offset for offset in wanted if low <= offset < high)):
                for message in self._read(topic, partition, run[0], run[-1] + 1):
                    if (named := wanted.pop(message.offset(), None)) is not None:
                        yield named, _original(message)
            for gone in wanted.values():
                yield gone, None

    def _read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Any]:
        return read_partition(self._consumer, topic, partition, start, stop)

    def progress(self) -> dict[str, int]:
        """Give the offset in the dead letters up to which each "topic reason" was sent again."""
        try:
            (place,) = self._consumer.committed([TopicPartition(DEAD_LETTERS.name, 0)], timeout=PATIENCE_SECONDS)
        except KafkaException as failure:
            raise NotRunningError(f"the broker does not answer: {failure.args[0].name()}") from failure
        told: dict[str, int] = json.loads(place.metadata or "{}")
        return told

    def note_progress(self, progress: Mapping[str, int]) -> None:
        """Keep it."""
        offset = max(progress.values(), default=0)
        place = TopicPartition(DEAD_LETTERS.name, 0, offset, metadata=json.dumps(progress, sort_keys=True))
        self._consumer.commit(offsets=[place], asynchronous=False)


def chosen(letters: Iterable[PlacedLetter], progress: Mapping[str, int]) -> Iterator[PlacedLetter]:
    """Leave out what was sent again already."""
    return (placed for placed in letters if placed.offset >= progress.get(_kind(placed.letter), 0))


def redrive(
    box: DeadLetterBox,
    letters: Sequence[PlacedLetter],
    producer: RecordProducer | None,
    told: Callable[[RedriveCounts], None] = lambda _: None,
) -> RedriveCounts:
    """Send again what the letters name; without a producer only look whether it could be.

    Raises DeliveryError where the broker does not take a batch; what it took before is noted.
    """
    counts = RedriveCounts()
    progress = dict(box.progress())
    for start in range(0, len(letters), BATCH):
        batch = letters[start : start + BATCH]
        for letter, original in box.originals(placed.letter for placed in batch):
            counts.chosen += 1
            if original is None:
                counts.gone += 1
                continue
            if producer is not None:
                producer.send(
                    letter.topic, original.key, original.value or b"", _headers(letter, original), letter.partition
                )
            counts.sent += 1
            counts.by_reason[letter.reason] = counts.by_reason.get(letter.reason, 0) + 1
        if producer is not None:
            producer.flush()
            for placed in batch:
                progress[_kind(placed.letter)] = max(progress.get(_kind(placed.letter), 0), placed.offset + 1)
            box.note_progress(progress)
        told(counts)
    return counts


def _kind(letter: DeadLetter) -> str:
    return f"{letter.topic} {letter.reason}"


def _headers(letter: DeadLetter, original: Original) -> list[tuple[str, str | bytes | None]]:
    before = [(name, value) for name, value in original.headers if name != HEADER]
    return [*before, (HEADER, f"{letter.topic}/{letter.partition}/{letter.offset}")]


def _original(message: Any) -> Original:
    return Original(message.key(), message.value(), list(message.headers() or []), message.timestamp()[1])


def _runs(offsets: Sequence[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for offset in offsets:
        if run and offset - run[-1] > _NEAR:
            yield run
            run = []
        run.append(offset)
    if run:
        yield run
