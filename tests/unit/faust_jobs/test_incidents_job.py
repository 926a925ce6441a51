"""The incidents job on ports in memory: crashes between any two of its steps, redelivery, parts of states."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import pytest

from detection.config import DetectionConfig
from detection.incidents.step import IncidentsStep
from schemas.alert import decode_alert
from schemas.entitlement import Entitlement
from schemas.model_version import ModelVersion
from schemas.topics import ALERTS, ENTITLEMENTS, FINDINGS, INCIDENTS_STATE, MODELS
from services.telemetry.metrics import Metrics
from stream_jobs.faust_host.memory import MemoryBroker, MemoryLine, memory_ports
from stream_jobs.incidents import state as states
from stream_jobs.incidents.job import IncidentsJob
from stream_jobs.incidents.state import StateStore, UnreadableStateError, newest, split
from tests.stream_jobs.clocks import ManualClock
from tests.stream_jobs.findings import findings_log, undisturbed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from stream_jobs.faust_host.ports import Outgoing, Record

PARTITIONS = 2


class Killed(BaseException):
    """The process is gone."""


class DyingBroker(MemoryBroker):
    """Dies before the n-th record that is sent, or not at all."""

    def __init__(self, inner: MemoryBroker, sends: int) -> None:
        super().__init__(inner.topics)
        self._left = sends

    async def begin(self, outgoing: Outgoing) -> Awaitable[object]:
        if self._left == 0:
            raise Killed
        self._left -= 1
        return await super().begin(outgoing)

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        for each in outgoing:
            await self.begin(each)


def make(broker: MemoryBroker, line: MemoryLine, clock: ManualClock) -> IncidentsJob:
    ports = memory_ports(broker, line, Metrics(), PARTITIONS)
    return IncidentsJob(
        ports, clock, lambda: IncidentsStep(DetectionConfig(), PARTITIONS, PARTITIONS), 900_000, budget=20
    )


def alerts(broker: MemoryBroker) -> dict[tuple[str, int], bytes]:
    found: dict[tuple[str, int], bytes] = {}
    for raw in broker.values(ALERTS):
        alert = decode_alert(raw)
        assert found.setdefault((alert.alert_id, alert.revision), raw) == raw
    return found


async def run(broker: MemoryBroker, line: MemoryLine, records: Sequence[Record]) -> None:
    """One process's life: from the committed offset to the end of what it is given."""
    clock = ManualClock()
    job = make(broker, line, clock)
    await job.open()
    for record in records[line.finished.get((FINDINGS.name, 0), 0) :]:
        await job.handle(record)
        clock.seconds += 0.4
        await job.tick()
    await job.drain()


def log_on(broker: MemoryBroker, hops: int) -> tuple[list[Record], list[bytes]]:
    log = findings_log(hops, PARTITIONS)
    return [broker.append(FINDINGS.name, b"k", raw) for raw in log], log


def test_an_undisturbed_run_tells_the_steps_alerts_and_finishes_everything() -> None:
    broker, line = MemoryBroker(), MemoryLine()
    records, log = log_on(broker, 40)
    asyncio.run(run(broker, line, records))
    assert alerts(broker) == undisturbed(log, PARTITIONS)
    assert line.finished == {(FINDINGS.name, 0): len(records)}


@pytest.mark.parametrize("first", range(0, 60, 3))
def test_a_death_before_any_send_changes_no_alert(first: int) -> None:
    broker, line = MemoryBroker(), MemoryLine()
    records, log = log_on(broker, 40)
    for sends in (first, 7, 1, 23):
        with contextlib.suppress(Killed):
            asyncio.run(run(DyingBroker(broker, sends), line, records))
    asyncio.run(run(broker, line, records))
    assert alerts(broker) == undisturbed(log, PARTITIONS)


def test_nothing_is_finished_before_a_state_includes_it() -> None:
    async def scenario() -> None:
        broker, line, clock = MemoryBroker(), MemoryLine(), ManualClock()
        records, _ = log_on(broker, 10)
        job = make(broker, line, clock)
        await job.open()
        for record in records:
            await job.handle(record)
        await job.tick()
        assert line.finished == {}
        assert broker.values(INCIDENTS_STATE) == []
        clock.seconds += 5
        await job.tick()
        assert line.finished == {(FINDINGS.name, 0): len(records)}

    asyncio.run(scenario())


def test_redelivered_records_change_nothing() -> None:
    async def scenario() -> None:
        broker, line, clock = MemoryBroker(), MemoryLine(), ManualClock()
        records, log = log_on(broker, 30)
        job = make(broker, line, clock)
        await job.open()
        for place, record in enumerate(records):
            await job.handle(record)
            for again in records[max(0, place - 5) : place + 1]:
                await job.handle(again)
        assert alerts(broker) == undisturbed(log, PARTITIONS)
        assert len(broker.values(ALERTS)) == len(alerts(broker))

    asyncio.run(scenario())


def test_a_gap_between_state_and_delivery_is_read_from_the_log() -> None:
    async def scenario() -> None:
        broker, line = MemoryBroker(), MemoryLine()
        records, log = log_on(broker, 30)
        job = make(broker, line, ManualClock())
        await job.open()
        await job.handle(records[len(records) // 2])
        for record in records[len(records) // 2 :]:
            await job.handle(record)
        assert alerts(broker) == undisturbed(log, PARTITIONS)

    asyncio.run(scenario())


def test_an_entitled_account_raises_no_alert_and_an_ended_entitlement_frees_none() -> None:
    def entitlement(until: int) -> bytes:
        return msgspec.json.encode(
            Entitlement(
                entitlement_id="e1",
                subject_kind="account",
                subject=subject,
                kind="allowlist",
                valid_from_unix_ms=0,
                valid_until_unix_ms=until,
            )
        )

    async def raised(*values: bytes | None) -> set[str]:
        broker = MemoryBroker()
        records, _ = log_on(broker, 30)
        for value in values:
            broker.append(ENTITLEMENTS.name, subject.encode(), value)
        job = make(broker, MemoryLine(), ManualClock())
        await job.open()
        for record in records:
            await job.handle(record)
        return {decode_alert(raw).subject for raw in broker.values(ALERTS)}

    subject = ""
    everyone = asyncio.run(raised())
    subject = next(name for name in sorted(everyone) if int(name, 16) >= 500_000)
    assert asyncio.run(raised(entitlement(2**50))) == everyone - {subject}
    assert asyncio.run(raised(entitlement(2**50), entitlement(0))) == everyone
    assert asyncio.run(raised(entitlement(2**50), None)) == everyone


def test_states_in_parts_survive_a_death_between_two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "PART_BYTES", 10)

    async def scenario() -> None:
        broker = MemoryBroker()
        store = StateStore(broker, broker)
        assert await store.load() is None
        await store.save(5, bytes(range(200)))
        await store.save(9, bytes(range(250)))
        third = split(12, bytes(range(100)), "a")
        assert len(third) > 3
        await broker.send(third[:-1])
        found = await StateStore(broker, broker).load()
        assert found is not None
        assert (found.asof, found.blob, found.slot) == (9, bytes(range(250)), "b")
        after = StateStore(broker, broker)
        await after.load()
        await after.save(13, b"next")
        assert newest(broker.topics[INCIDENTS_STATE.name]) == states.SavedState(13, b"next", "a")

    asyncio.run(scenario())


def test_a_late_writers_older_state_is_not_taken() -> None:
    async def scenario() -> None:
        broker = MemoryBroker()
        await broker.send(split(50, b"old", "b"))
        await broker.send(split(90, b"new", "a"))
        await broker.send(split(60, b"late", "b"))
        found = await StateStore(broker, broker).load()
        assert found is not None
        assert found.blob == b"new"

    asyncio.run(scenario())


def test_a_state_far_before_the_topics_end_is_found() -> None:
    async def scenario() -> None:
        broker = MemoryBroker()
        await broker.send(split(50, b"only", "a"))
        for _ in range(states.FIRST_WINDOW * 20):
            broker.append(INCIDENTS_STATE.name, b"b.0", None)
        found = await StateStore(broker, broker).load()
        assert found is not None
        assert found.blob == b"only"

    asyncio.run(scenario())


def test_a_state_of_another_version_stops_the_job() -> None:
    broker = MemoryBroker()
    broker.append(INCIDENTS_STATE.name, b"a.0", msgspec.msgpack.encode(["incidents_state.v9", 1, 0, 1, b""]))
    with pytest.raises(UnreadableStateError):
        newest(broker.topics[INCIDENTS_STATE.name])


def head(version: int, stage: str = "live", **changes: object) -> bytes:
    whole = ModelVersion(
        model="supervised",
        version=version,
        stage=stage,  # type: ignore[arg-type] # one of the stages
        trained_on=200,
        positives=100,
        created_at="2026-01-02T03:04:05.000Z",
        parameters={"intercept": 9.0, "steps": 1.0},
    )
    return msgspec.json.encode(msgspec.structs.replace(whole, **changes))


LIVE, SHADOW = b"supervised/live", b"supervised/shadow"


def test_a_promoted_head_counts_from_the_first_hop_that_closes_after_it_was_read() -> None:
    async def scenario() -> None:
        broker, line, clock = MemoryBroker(), MemoryLine(), ManualClock()
        records, log = log_on(broker, 60)
        broker.append(MODELS.name, SHADOW, head(4, "shadow"))
        job = make(broker, line, clock)
        await job.open()
        third = len(records) // 3
        for place, record in enumerate(records):
            if place == third:
                broker.append(MODELS.name, LIVE, head(5))
                broker.append(MODELS.name, SHADOW, head(6, "shadow"))
                await job.tick()
            if place == 2 * third:
                broker.append(MODELS.name, LIVE, b"no head")
                broker.append(MODELS.name, LIVE, head(7, parameters={}))
                await job.tick()  # What cannot be used leaves the one before in use.
            await job.handle(record)
        models = [decode_alert(raw).model for raw in broker.values(ALERTS)]
        assert set(models) == {"", "supervised/5"}
        assert models == sorted(models)
        broker.append(MODELS.name, LIVE, head(5, "retired"))
        await job.tick()
        assert job._step.head == ""
        # All else is what it would have been without a head.
        bare = {
            place: msgspec.structs.replace(decode_alert(raw), priority=0, model="")
            for place, raw in alerts(broker).items()
        }
        wanted = {
            place: msgspec.structs.replace(decode_alert(raw), priority=0)
            for place, raw in undisturbed(log, PARTITIONS).items()
        }
        assert bare == wanted

    asyncio.run(scenario())


def test_a_restart_finds_the_head_that_is_live() -> None:
    async def scenario() -> None:
        broker = MemoryBroker()
        broker.append(MODELS.name, LIVE, head(5))
        job = make(broker, MemoryLine(), ManualClock())
        await job.open()
        assert job._step.head == "supervised/5"
        broker.append(MODELS.name, LIVE, None)
        await job.open()
        assert job._step.head == ""

    asyncio.run(scenario())


def test_bars_that_were_live_from_the_first_hop_give_the_steps_alerts_through_every_death() -> None:
    broker, line = MemoryBroker(), MemoryLine()
    records, log = log_on(broker, 40)
    raw = head(3, model="bars", parameters={"bar.pool": 1.2, "bar.account": 1.25})
    broker.append(MODELS.name, b"bars/live", raw)
    for sends in (3, 7, 1, 23):
        with contextlib.suppress(Killed):
            asyncio.run(run(DyingBroker(broker, sends), line, records))
    asyncio.run(run(broker, line, records))
    bars = msgspec.json.decode(raw, type=ModelVersion)
    assert alerts(broker) == undisturbed(log, PARTITIONS, bars)
    assert 0 < len(alerts(broker)) < len(undisturbed(log, PARTITIONS))


def test_bars_follow_their_topic_and_what_is_none_changes_nothing() -> None:
    async def scenario() -> None:
        broker = MemoryBroker()
        job = make(broker, MemoryLine(), ManualClock())
        await job.open()
        assert job._step.bars == ""
        broker.append(MODELS.name, b"bars/shadow", head(4, "shadow", model="bars", parameters={"bar.pool": 1.2}))
        await job.tick()
        assert job._step.bars == ""
        broker.append(MODELS.name, b"bars/live", head(4, model="bars", parameters={"bar.pool": 1.2}))
        await job.tick()
        assert (job._step.bars, job._step.bar_of("pool"), job._step.head) == ("bars/4", 1.2, "")
        broker.append(MODELS.name, b"bars/live", b"no bars")
        await job.tick()
        assert job._step.bars == "bars/4"
        await job.open()
        assert job._step.bars == "bars/4"
        broker.append(MODELS.name, b"bars/live", head(4, "retired", model="bars", parameters={"bar.pool": 1.2}))
        await job.tick()
        assert job._step.bars == ""

    asyncio.run(scenario())
