"""The one loop of every Faust job: assignment, records in order, dead letters, lag, readiness, draining.

One agent reads all of a job's topics, so records, ticks and the drain are never at work at once. The stream never
acknowledges: the job draws the finish line (``transport``). Partitions that come back from elsewhere make the job open
its state again before the next record.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
from faust.types import TP

from schemas.dead_letter import DeadLetter
from schemas.topics import DEAD_LETTERS
from services.telemetry.health import CheckResult
from services.telemetry.logs import get_logger
from stream_jobs.faust_host.ports import Outgoing, Ports, Record, TooManyInvalidError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from schemas.dead_letter import Reason
    from schemas.topics import Topic
    from services.adapters.clock import Clock
    from services.settings import Settings
    from services.telemetry.metrics import Metrics
    from stream_jobs.faust_host.ports import Outbox, StreamJob, TopicLog

TICK_SECONDS: Final = 0.5
LAG_SECONDS: Final = 5.0
READY_LAG: Final = 10_000  # Records behind at which a worker is no longer ready.
RATIO_RECORDS: Final = 1000  # The ratio of invalid records says nothing about fewer.


class ProducerOutbox:
    """``Outbox`` on the app's producer. What Faust's ``topic.send`` adds costs 84 us a record and hides errors."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def begin(self, outgoing: Outgoing) -> Awaitable[object]:
        """Hand a record to the producer; see ``Outbox``."""
        done: Awaitable[object] = await self._app.producer.send(
            outgoing.topic.name, outgoing.key, outgoing.value, None, None, list(outgoing.headers)
        )
        return done

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send in order, then wait for all."""
        for done in [await self.begin(each) for each in outgoing]:
            await done


class JobDeadLetters:
    """``DeadLetters`` with the limit: above the ratio the job stops instead of draining the topic."""

    def __init__(self, job: str, outbox: Outbox, metrics: Metrics, ratio: float) -> None:
        self._job = job
        self._outbox = outbox
        self._metrics = metrics
        self._ratio = ratio
        self._rejected = 0
        self.seen = 0  # Records handled; the host counts them.

    async def reject(self, record: Record, reason: Reason, detail: str, schema: str) -> None:
        """Send the dead letter; see ``DeadLetters``."""
        letter = DeadLetter(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=reason,
            detail=detail,
            schema=schema,
            size=len(record.value or b""),
            time_unix_ms=record.time_ms,
            job=self._job,
        )
        await self._outbox.send([Outgoing(DEAD_LETTERS, record.topic.encode(), msgspec.json.encode(letter))])
        self._metrics.counter("stillwatch_dead_letters_total", job=self._job, reason=reason).inc()
        self._rejected += 1
        if self.seen >= RATIO_RECORDS and self._rejected > self._ratio * self.seen:
            raise TooManyInvalidError(f"{self._rejected} of {self.seen} records are invalid")


class Host:
    """Runs one job on one Faust app. ``make`` is called once, with the ports."""

    def __init__(
        self,
        job: str,
        app: Any,
        topics: Sequence[Topic],
        make: Callable[[Ports], StreamJob],
        *,
        log: TopicLog,
        metrics: Metrics,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self.app = app
        self.name = job
        self._clock = clock
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._assigned: frozenset[Any] | None = None
        self._open = False
        self._draining = False
        self._topics = {topic.name: topic for topic in topics}
        self._handled: dict[tuple[str, int], int] = {}  # Offset of the last record that was handled.
        self._lags: dict[tuple[str, int], int] | None = None
        self._heard = clock.monotonic()
        outbox = ProducerOutbox(app)
        self._letters = JobDeadLetters(job, outbox, metrics, settings.dead_letter_ratio)
        self._ports = Ports(
            outbox=outbox,
            log=log,
            line=self,
            dead_letters=self._letters,
            metrics=metrics,
            partitions=settings.partitions,
        )
        self.job = make(self._ports)
        channel = app.topic(
            *(topic.name for topic in topics), key_type=bytes, value_type=bytes, value_serializer="raw", internal=False
        )
        self.agent = app.agent(channel, name=f"{job}-records", concurrency=1)(self._consume)
        app.timer(TICK_SECONDS, name=f"{job}-tick")(self._tick)
        app.timer(LAG_SECONDS, name=f"{job}-lag")(self._measure)
        app.on_partitions_assigned.connect(self._on_assigned)
        app.on_partitions_revoked.connect(self._on_revoked)

    def finish(self, record: Record) -> None:
        """Let the record's offset be committed; see ``FinishLine``."""
        self.app.consumer.finish(_place(record), record.offset)

    async def drain(self) -> None:
        """Let the record in work end, have the job finish what it can, and take no more."""
        async with self._lock:
            self._draining = True
            if self._open:
                await self.job.drain()
                await self.app.consumer.commit()

    def checks(self) -> Mapping[str, Callable[[], CheckResult]]:
        """Give what /readyz asks. Each only reads a value that the loop has set."""
        return {
            "assigned": self._check_assigned,
            "recovered": self._check_recovered,
            "lag": self._check_lag,
            "last_record": self._check_last_record,
        }

    async def _consume(self, stream: Any) -> None:
        events = self._metrics.counter("stillwatch_events_total", job=self.name)
        async for event in stream.noack().events():
            message = event.message
            record = Record(
                message.topic,
                message.partition,
                message.offset,
                message.key,
                message.value,
                int((message.timestamp or 0) * 1000),
            )
            async with self._lock:
                if self._draining:
                    return
                await self._ensure_open()
                self._letters.seen += 1
                await self.job.handle(record)
            self._handled[record.topic, record.partition] = record.offset
            self._heard = self._clock.monotonic()
            events.inc()

    async def _tick(self) -> None:
        async with self._lock:
            if self._assigned and not self._draining:
                await self._ensure_open()
                await self.job.tick()

    async def _ensure_open(self) -> None:
        if not self._open:
            await self.job.open()
            self._open = True
            get_logger().info("job.opened", job=self.name, **self._ports.details)

    async def _on_assigned(self, _app: Any, assigned: set[Any], **_: Any) -> None:
        self._assigned = frozenset(assigned)

    async def _on_revoked(self, _app: Any, revoked: set[Any], **_: Any) -> None:
        if revoked:
            self._assigned = (self._assigned or frozenset()) - revoked
            # Somebody else may write the state now; a record in work ends, the next one finds it closed.
            self._open = False

    async def _measure(self) -> None:
        lags: dict[tuple[str, int], int] = {}
        for name, topic in self._topics.items():
            bounds = await self._ports.log.bounds(topic)
            for place in [place for place in self._assigned or () if place.topic == name]:
                lags[name, place.partition] = await self._lag(place, bounds[place.partition][1])
        for (name, partition), lag in lags.items():
            self._metrics.gauge("stillwatch_consumer_lag", job=self.name, topic=name, partition=str(partition)).set(lag)
        if self._assigned:
            self._lags = lags

    async def _lag(self, place: Any, end: int) -> int:
        """Count what is not fetched, and what is fetched but not handled. Markers at the end count for nothing."""
        consumer = self.app.consumer
        if place not in consumer.assignment():
            return 0
        fetched: int = await consumer.position(place)
        delivered: int | None = consumer.delivered(place)
        handled = self._handled.get((place.topic, place.partition))
        waiting = delivered - handled if delivered is not None and handled is not None else 0
        return max(0, end - fetched) + max(0, waiting)

    def _check_assigned(self) -> CheckResult:
        if self._assigned is None:
            return CheckResult(ready=False, detail="the group has not answered yet")
        if not self._assigned:
            return CheckResult(ready=True, detail="standby: other workers hold all partitions")
        return CheckResult(ready=True, detail=f"{len(self._assigned)} partitions")

    def _check_recovered(self) -> CheckResult:
        if self._assigned == frozenset():
            return CheckResult(ready=True, detail="standby: nothing to recover")
        told = ", ".join(f"{name} {value}" for name, value in self._ports.details.items())
        return CheckResult(ready=self._open, detail=told or ("open" if self._open else "state not read yet"))

    def _check_lag(self) -> CheckResult:
        lags = self._lags
        if lags is None:
            return CheckResult(ready=self._assigned == frozenset(), detail="not measured yet")
        total = sum(lags.values())
        worst = max(lags, key=lambda place: lags[place], default=None)
        where = f", most on {worst[0]}-{worst[1]}" if worst and total else ""
        return CheckResult(ready=total <= READY_LAG, detail=f"{total} records behind{where}")

    def _check_last_record(self) -> CheckResult:
        return CheckResult(ready=True, detail=f"{self._clock.monotonic() - self._heard:.0f} s ago")


def _place(record: Record) -> TP:
    return TP(record.topic, record.partition)
