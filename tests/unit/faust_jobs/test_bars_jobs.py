"""From findings to a bar and back: the learning job proposes on the incidents job's state, and that job holds by it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from detection.config import AccountLane, DetectionConfig, Exploration, IncidentPolicy
from detection.incidents.step import IncidentsStep
from detection.outcomes import SourceClosed
from detection.ranking.lessons import Judged
from detection.ranking.proposing import LEAST_REFUSED, budget_of
from schemas.alert import decode_alert
from schemas.finding import encode_finding
from schemas.model_version import ModelVersion
from schemas.topics import ALERTS, FINDINGS, INCIDENTS_STATE, MODELS
from services.telemetry.metrics import Metrics
from stream_jobs.faust_host.memory import MemoryBroker, MemoryLine, memory_ports
from stream_jobs.incidents import state as states
from stream_jobs.incidents.job import IncidentsJob
from stream_jobs.learning.bars import LOOK_SECONDS, BarsProposer
from tests.stream_jobs.clocks import ManualClock
from tests.stream_jobs.findings import finding

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG: Final = DetectionConfig(
    accounts=AccountLane(alerts_per_hour=20),
    exploration=Exploration(alerts_per_hour=0),
    incidents=IncidentPolicy(alerts_per_hour=20),
)
THRESHOLD: Final = 3.0  # Of ``finding``.
LIVE: Final = b"bars/live"


class Product:
    """The two jobs over one broker in memory."""

    def __init__(self, analysts: int = 0, each: float = 6.0) -> None:
        self.broker = MemoryBroker()
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.job = IncidentsJob(
            memory_ports(self.broker, MemoryLine(), self.metrics, 1),
            self.clock,
            self.step,
            CONFIG.clocking.hop_ms,
            budget=20,
        )
        self._budget = budget_of(CONFIG, analysts, each)
        self.proposer = self.new_proposer()
        self._hop = -1
        asyncio.run(self.job.open())

    @staticmethod
    def step() -> IncidentsStep:
        return IncidentsStep(CONFIG, 1, 1)

    def new_proposer(self) -> BarsProposer:
        made = BarsProposer(
            memory_ports(self.broker, MemoryLine(), self.metrics, 1), self.clock, self.step, CONFIG, self._budget, "t"
        )
        asyncio.run(made.open())
        return made

    def find(self, ratios: Sequence[float]) -> None:
        """One account for each score over the threshold, in a hop that closes behind them."""
        self._hop += 1
        found = [
            finding(
                "account", self._hop, f"{1000 * self._hop + place:016x}", [1000 * self._hop + place], ratio * THRESHOLD
            )
            for place, ratio in enumerate(ratios, start=1)
        ]
        closed = [SourceClosed(job=job, partition=0, hop=self._hop) for job in ("accounts", "pools")]  # type: ignore[arg-type] # both are jobs

        async def handle() -> None:
            for record in [*found, *closed]:
                await self.job.handle(self.broker.append(FINDINGS.name, b"k", encode_finding(record)))
            self.clock.seconds += LOOK_SECONDS
            await self.job.tick()

        asyncio.run(handle())

    def look(self, judged: Sequence[tuple[Judged, str]] = ()) -> None:
        self.clock.seconds += LOOK_SECONDS
        asyncio.run(self.proposer.look(judged))

    def proposed(self) -> list[ModelVersion]:
        versions = [msgspec.json.decode(raw, type=ModelVersion) for raw in self.broker.values(MODELS)]
        return [each for each in versions if each.stage == "shadow"]

    def put_live(self, version: ModelVersion, stage: str = "live") -> None:
        raw = msgspec.json.encode(msgspec.structs.replace(version, stage=stage))  # type: ignore[arg-type] # a stage
        self.broker.append(MODELS.name, LIVE, raw)
        asyncio.run(self.job.tick())

    def raised(self) -> set[str]:
        return {alert.subject for alert in map(decode_alert, self.broker.values(ALERTS))}

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def judged(ratio: float, count: int, verdict: str = "benign") -> list[tuple[Judged, str]]:
    score = ratio * CONFIG.accounts.threshold
    return [(Judged({}, "d", f"{place:x}", 1.0, "account", "account", score), verdict) for place in range(count)]


def test_more_incidents_than_people_can_read_raise_a_bar_in_shadow_that_holds_nothing_before_it_is_promoted() -> None:
    product = Product(analysts=1, each=2.0)
    for _ in range(20):  # Five hours, sixteen incidents an hour.
        product.find([1.02, 1.12, 1.22, 1.32])
    product.look()
    (version,) = product.proposed()
    told = version.parameters
    assert (version.model, version.version, version.trained_on) == ("bars", 1, 0)
    assert told["budget"] == 2.0
    assert told["raised.account"] <= 2.0 < told["hourly.account"]
    assert told["bar.account"] == 1.15  # 48 a day: without the best of those, 60 would come.
    # All lanes share what people can read, so the bar that the budget asks for is everyone's.
    assert told["bar.pool"] == told["bar.account"]
    assert len(product.raised()) == 80
    assert product.metric("stillwatch_bar", lane="account", stage="shadow") == told["bar.account"]

    product.put_live(version)
    assert product.metric("stillwatch_model_live_version", model="bars") == 1
    product.find([1.02, 1.12, 1.6])
    assert len(product.raised()) == 81
    product.clock.seconds += 10
    asyncio.run(product.job.tick())
    assert product.metric("stillwatch_incidents_held", lane="account") == 2
    # Retired, what was held comes in the next hop that closes.
    product.put_live(version, "retired")
    for _ in range(5):
        product.find([])
    assert len(product.raised()) == 83
    assert product.metric("stillwatch_incidents_held", lane="account") == 0


def test_nothing_new_publishes_nothing_and_a_restart_goes_on_behind_the_last_version() -> None:
    product = Product()
    product.find([1.02, 1.3])
    product.look()
    assert product.proposed() == []  # Nothing asks for another bar.
    verdicts = judged(1.02, LEAST_REFUSED)
    product.look(verdicts)
    product.look(verdicts)
    assert [each.version for each in product.proposed()] == [1]
    assert product.proposed()[0].parameters["bar.account"] == 1.05
    assert product.proposed()[0].parameters["bar.pool"] == 1.0
    product.proposer = product.new_proposer()
    product.look(verdicts)
    assert [each.version for each in product.proposed()] == [1]
    # What people confirm takes it down again, as a version of its own.
    product.look([*verdicts, *judged(1.02, 20, "true_positive")])
    assert [each.version for each in product.proposed()] == [1, 2]
    assert product.proposed()[1].parameters["bar.account"] == 1.0
    assert product.proposed()[1].positives == 20


def test_looks_are_a_minute_apart() -> None:
    product = Product()
    product.find([1.02])
    product.look()
    asyncio.run(product.proposer.look(judged(1.02, 40)))
    assert product.proposed() == []
    product.clock.seconds += LOOK_SECONDS
    asyncio.run(product.proposer.look(judged(1.02, 40)))
    assert len(product.proposed()) == 1


def test_a_drift_is_told_once_for_a_week_and_moves_nothing() -> None:
    product = Product()
    for _ in range(40):
        product.find([1.02, 1.05])
    product.look()
    assert product.proposed() == []
    for _ in range(40):
        product.find([1.9, 2.1])
    before = product.raised()
    product.look()
    (version,) = product.proposed()
    told = version.parameters
    assert told["drift_from.account"] < told["drift_to.account"]
    assert 40 * 900 < told["drift.account"] <= 81 * 900
    assert {name: value for name, value in told.items() if name.startswith("bar.")} == {
        "bar.pool": 1.0,
        "bar.account": 1.0,
        "bar.link": 1.0,
    }
    assert product.metric("stillwatch_drifts_total", lane="account") >= 1
    assert product.raised() == before
    # A restart looks at everything anew and tells nothing anew; after a week without another, it is over.
    product.proposer = product.new_proposer()
    product.look()
    assert product.proposed() == [version]
    for _ in range(680):
        product.find([])
    product.look()
    assert [name for name in product.proposed()[-1].parameters if name.startswith("drift")] == []


def test_a_state_that_cannot_be_read_proposes_nothing_and_stops_nobody() -> None:
    product = Product()
    product.look(judged(1.02, 40))
    assert product.proposed() == []  # There is no state yet.
    product.broker.append(INCIDENTS_STATE.name, b"a.0", msgspec.msgpack.encode(["incidents_state.v9", 1, 0, 1, b""]))
    product.look(judged(1.02, 40))
    assert product.proposed() == []
    product.broker.topics[INCIDENTS_STATE.name].clear()
    for part in states.split(1, IncidentsStep(CONFIG, 3, 3).state(), "a"):
        product.broker.append(INCIDENTS_STATE.name, part.key, part.value)
    product.look(judged(1.02, 40))
    assert product.proposed() == []
