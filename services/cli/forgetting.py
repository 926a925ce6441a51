"""What the topics hold of somebody, until when, and what of it can be deleted now.

Kafka deletes no single record of a log: those go by their topic's retention. A key of a compacted topic is deleted by a
record without a value. The jobs' states are theirs alone to change, and forget by age.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from schemas import topics
from schemas.account_attributes import AccountAttributes
from schemas.account_window import AccountWindow
from schemas.decision import Decision
from schemas.topics import RAW_TOPICS, TOPICS
from services.adapters.kafka.mentions import Mentions, find, pattern_of
from services.adapters.kafka.reading import open_reader, read_topic
from services.adapters.postgres.moments import EPOCH, read_moment
from services.errors import StillwatchError
from stream_jobs.faust_host.ports import Record
from stream_jobs.incidents.state import UnreadableStateError, newest

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator

    from detection.config import DetectionConfig
    from schemas.topics import Topic
    from services.adapters.kafka.reading import Lying
    from services.bootstrap import ClientConfig

GROUP: Final = "stillwatch-forget"
DELETABLE: Final = (topics.ACCOUNT_ATTRIBUTES, topics.DECISIONS, topics.ENTITLEMENTS)
RAW: Final = frozenset(topic.name for topic in RAW_TOPICS)
IN_FORCE: Final = "a decision in force; after that moment run `stillwatch forget` again"
_UNREAD: Final = "not read, as asked; empty of it by then"
_decision: Final = msgspec.json.Decoder(Decision)


class UnreadableRecordError(StillwatchError):
    """A record that mentions the subject is of no form that is known here."""

    hint = "Run the release that wrote it, or name the subject to the makers of whatever else writes there."


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere that holds a subject, or may.

    ``records`` None: not looked through. ``until`` None: it should be gone.
    """

    kind: Literal["topic", "table"]
    name: str
    records: int | None
    until: datetime | None
    why: str

    @property
    def wrong(self) -> bool:
        """Tell whether what stands here has no end."""
        return bool(self.records) and self.until is None


class TopicSearch:
    """Reads topics; close it.

    ``now`` is the moment that everything is judged at; ``logs`` False leaves those unread that a retention empties.
    """

    def __init__(self, base: ClientConfig, config: DetectionConfig, now: datetime, *, logs: bool) -> None:
        self._consumer = open_reader(base, GROUP)
        self._now = now
        self._logs = logs
        hop = config.clocking.hop_ms
        self._ages: dict[str, tuple[int, str]] = {
            topics.ACCOUNTS_STATE.name: (
                config.accounts.idle_ms + hop,
                "the accounts job forgets an account that is silent for so long",
            ),
            topics.POOLS_STATE.name: (2 * config.pools.window_ms + hop, "pools forget by windows"),
            topics.INCIDENTS_STATE.name: (
                config.incidents.quiet_ms + hop,
                "an incident is forgotten so long after its last finding; a new finding moves this on",
            ),
        }

    def close(self) -> None:
        """Free the connection."""
        self._consumer.close()

    def accounts_of(self, organisation: str) -> set[str]:
        """Give the accounts that attributes, and windows where logs are read, name as this organisation's."""
        pattern = pattern_of([organisation])
        found = set(
            self._decoded(self._mentions(topics.ACCOUNT_ATTRIBUTES, pattern).values.values(), AccountAttributes)
        )
        if self._logs:
            told = (record.value or b"" for record in read_topic(self._consumer, topics.ACCOUNT_WINDOWS.name))
            found |= set(self._decoded((value for value in told if pattern.search(value)), AccountWindow))
        return {account for account, named in found if named == organisation}

    def deletable(self, names: Iterable[str]) -> list[tuple[Topic, bytes]]:
        """Give the keys of compacted topics whose newest record mentions one of these and need not stand."""
        pattern = pattern_of(names)
        return [
            (topic, key)
            for topic in DELETABLE
            for key, value in sorted(self._mentions(topic, pattern).values.items())
            if topic is not topics.DECISIONS or self._expiry(value) <= self._now
        ]

    def places(self, names: Iterable[str]) -> Iterator[Place]:
        """Look through every topic; those without a mention are left out."""
        pattern = pattern_of(names)
        for topic in TOPICS:
            if topic.name in RAW:
                # Vendors' own names and texts, not identifiers of ours: there is nothing to search by.
                yield self._unread(topic, "what vendors wrote, under names of their own; gone by then")
            elif topic is topics.KEY_LINKS:
                if next(read_topic(self._consumer, topic.name), None) is not None:
                    yield Place(
                        "topic", topic.name, None, None, "sealed: only a gateway with the old key can open a pair"
                    )
            elif topic.cleanup == "delete" and not self._logs:
                yield self._unread(topic, _UNREAD)
            else:
                found = self._mentions(topic, pattern)
                if found.newest_ms is not None:
                    yield self._place(topic, found, found.newest_ms)

    def _unread(self, topic: Topic, why: str) -> Place:
        return Place("topic", topic.name, None, self._now + _span(topic), why)

    def _place(self, topic: Topic, found: Mentions, newest_ms: int) -> Place:
        until: datetime | None = None
        why = "should be deleted: run `stillwatch forget`"
        if topic.cleanup == "delete":
            until, why = _moment(newest_ms) + _span(topic), "goes by the topic's retention"
        elif topic.name in self._ages:
            age, why = self._ages[topic.name]
            until = _moment(newest_ms + age)
        elif topic is topics.DECISIONS:
            last = max(self._expiry(value) for value in found.values.values())
            if last > self._now:
                until, why = last, IN_FORCE
        return Place("topic", topic.name, found.records, until, why)

    def _mentions(self, topic: Topic, pattern: re.Pattern[bytes]) -> Mentions:
        records = read_topic(self._consumer, topic.name)
        if topic is topics.INCIDENTS_STATE:
            return _in_state(records, pattern)
        return find(records, pattern, compacted=topic.cleanup == "compact")

    def _expiry(self, value: bytes) -> datetime:
        try:
            return read_moment(_decision.decode(value).expires_at)
        except (msgspec.DecodeError, ValueError) as error:
            raise UnreadableRecordError("a record of decisions cannot be read") from error

    def _decoded(
        self, values: Iterable[bytes], kind: type[AccountAttributes | AccountWindow]
    ) -> Iterator[tuple[str, str]]:
        decoder = msgspec.json.Decoder(kind)
        for value in values:
            try:
                record = decoder.decode(value)
            except msgspec.DecodeError as error:
                raise UnreadableRecordError(f"a record that should be {kind.__name__} cannot be read") from error
            yield record.account, record.organization


def _in_state(records: Iterable[Lying], pattern: re.Pattern[bytes]) -> Mentions:
    """Look into the incidents job's newest state, which lies compressed and in parts."""
    kept = [
        Record(topics.INCIDENTS_STATE.name, each.partition, each.offset, each.key, each.value, each.time_ms)
        for each in records
    ]
    try:
        state = newest(kept)
    except UnreadableStateError as error:
        raise UnreadableRecordError("the incidents job's state is of another release") from error
    if state is None or not pattern.search(state.blob):
        return Mentions(0, None, {})
    return Mentions(1, max(each.time_ms for each in kept), {})


def _span(topic: Topic) -> timedelta:
    """Give how long a record of a log may lie: its retention, and the span of the segment that it lies in."""
    return timedelta(milliseconds=topic.retention_ms + int(topic.config()["segment.ms"]))


def _moment(time_ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=time_ms)
