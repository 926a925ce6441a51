"""Learning on ports in memory: once for each label, rebuilt from the log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from detection.config import DetectionConfig
from detection.incidents.step import IncidentsStep
from detection.outcomes import Alert, Evidence, FindingReference, Member
from detection.ranking.proposing import budget_of
from schemas.alert import encode_alert
from schemas.label import Label
from schemas.model_version import ModelVersion
from schemas.topics import ALERTS, LABELS, MODELS
from services.adapters.clock import SystemClock
from services.telemetry.metrics import Metrics
from stream_jobs.faust_host.memory import MemoryBroker, MemoryLine, memory_ports
from stream_jobs.learning.bars import BarsProposer
from stream_jobs.learning.job import SOURCE, LearningJob

if TYPE_CHECKING:
    from stream_jobs.faust_host.ports import Ports, Record

TIME = "2026-01-02T03:04:05.000Z"


def alert(number: int, revision: int = 1, **changes: Any) -> Alert:
    reference = FindingReference(
        finding_id="f",
        lane="pool",
        detector="exchangeability",
        family="",
        subject="5" * 16,
        hop=1,
        score=4.0,
        customers=3,
        requests=9,
    )
    whole = Alert(
        alert_id=f"{number:016x}",
        revision=revision,
        kind="alert",
        lane="pool",
        subject_kind="campaign",
        subject="5" * 16,
        event_time=TIME,
        updated_time=TIME,
        score=3.0 + number % 5,
        severity="critical",
        confidence=0.9,
        title="A pool",
        requests=9,
        contributions=[Evidence(feature="dispersion", actual=0.1, expected=1.0, weight=float(number % 7))],
        members=[member(1, 0.9), member(2, 0.8), member(3, 0.2)],
        findings=[reference],
        config_version="test",
    )
    return msgspec.structs.replace(whole, **changes)


def member(number: int, strength: float) -> Member:
    return Member(account=f"{number:016x}", customer=f"{100 + number:016x}", requests=3, strength=strength, since=TIME)


def label(number: int, on: Alert, verdict: str = "true_positive", **changes: Any) -> bytes:
    whole = Label(
        label_id=f"label-{number}",
        alert_id=on.alert_id,
        alert_revision=on.revision,
        subject_kind="campaign",
        subject=on.subject,
        verdict=verdict,  # type: ignore[arg-type] # of the parametrised table
        reason="seen",
        actor="analyst",
        labelled_at=TIME,
        config_version="test",
    )
    return msgspec.json.encode(msgspec.structs.replace(whole, **changes))


def proposer(ports: Ports) -> BarsProposer:
    config = DetectionConfig()
    return BarsProposer(
        ports, SystemClock(), lambda: IncidentsStep(config, 2, 2), config, budget_of(config, 0, 6.0), SOURCE
    )


class Desk:
    """Topics in memory, and one life of a job after another over them."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.line = MemoryLine()
        self.metrics = Metrics()

    def raise_alert(self, made: Alert) -> Alert:
        self.broker.append(ALERTS.name, made.alert_id.encode(), encode_alert(made))
        return made

    def label(self, raw: bytes) -> Record:
        return self.broker.append(LABELS.name, b"k", raw)

    def learn(self, records: list[Record] | None = None, during: list[bytes] | None = None) -> LearningJob:
        async def life() -> LearningJob:
            ports = memory_ports(self.broker, self.line, self.metrics)
            job = LearningJob(ports, proposer(ports))
            await job.open()
            for record in records or []:
                await job.handle(record)
            for raw in during or []:
                await job.handle(self.label(raw))
            return job

        return asyncio.run(life())

    def models(self) -> list[ModelVersion]:
        return [msgspec.json.decode(raw, type=ModelVersion) for raw in self.broker.values(MODELS)]


def test_each_label_makes_one_shadow_version_and_a_repeated_one_none() -> None:
    desk = Desk()
    alerts = [desk.raise_alert(alert(number)) for number in range(4)]
    labels = [label(number, each) for number, each in enumerate(alerts)]
    desk.learn(during=[*labels, labels[0], labels[3]])
    versions = desk.models()
    assert [(each.version, each.trained_on, each.positives, each.stage) for each in versions] == [
        (number, number, number, "shadow") for number in range(1, 5)
    ]
    assert {record.key for record in desk.broker.topics[MODELS.name]} == {b"supervised/shadow"}
    assert desk.line.finished == {(LABELS.name, 0): 6}


def test_a_rebuild_from_the_log_gives_the_same_bytes_as_learning_as_they_came() -> None:
    live, rebuilt = Desk(), Desk()
    verdicts = ["true_positive", "false_positive", "benign", "insufficient_data"]
    raws = []
    for number in range(40):
        made = alert(number % 25)
        live.raise_alert(made)
        rebuilt.raise_alert(made)
        raws.append(label(number, made, verdicts[number * 7 % 4]))
    live.learn(during=raws)
    for raw in raws:
        rebuilt.label(raw)
    rebuilt.learn()
    assert live.broker.values(MODELS)[-1] == rebuilt.broker.values(MODELS)[-1]
    assert len(rebuilt.broker.values(MODELS)) == 1
    # A restart with nothing new publishes nothing.
    rebuilt.learn(records=rebuilt.broker.topics[LABELS.name])
    assert len(rebuilt.broker.values(MODELS)) == 1


def test_the_newest_verdict_of_an_alert_stands() -> None:
    changed, straight = Desk(), Desk()
    for desk in (changed, straight):
        for number in range(3):
            desk.raise_alert(alert(number))
    changed.learn(
        during=[
            label(1, alert(0)),
            label(2, alert(1), "false_positive"),
            label(3, alert(0), "false_positive"),
        ]
    )
    straight.learn(during=[label(2, alert(1), "false_positive"), label(3, alert(0), "false_positive")])
    assert changed.models()[-1].parameters == straight.models()[-1].parameters
    assert changed.models()[-1].positives == 0


def test_precision_counts_judged_alerts_by_detector() -> None:
    desk = Desk()
    for number in range(4):
        desk.raise_alert(alert(number))
    desk.learn(
        during=[
            label(1, alert(0)),
            label(2, alert(1), "false_positive"),
            label(3, alert(2)),
            label(4, alert(3), "insufficient_data"),
        ]
    )
    shown = desk.metrics.registry.get_sample_value("stillwatch_label_precision", {"detector": "exchangeability"})
    assert shown == pytest.approx(2 / 3)


def test_versions_never_go_back_when_alerts_have_gone_from_their_topic() -> None:
    desk = Desk()
    alerts = [desk.raise_alert(alert(number)) for number in range(3)]
    desk.learn(during=[label(number, each) for number, each in enumerate(alerts)])
    desk.broker.topics[ALERTS.name] = []
    desk.raise_alert(alert(9))
    desk.learn(during=[label(9, alert(9))])
    assert [each.version for each in desk.models()] == [1, 2, 3, 4]


def test_labels_that_say_nothing_usable_go_to_the_dead_letters() -> None:
    desk = Desk()
    made = desk.raise_alert(alert(1))
    desk.learn(
        during=[
            b"no json",
            label(1, alert(77)),
            label(2, made, labelled_at="yesterday"),
            label(3, made, labelled_at="2026-01-02T03:04:05"),
        ]
    )
    assert [(reason, detail) for _, reason, detail, _ in desk.line.rejected] == [
        ("not_json", "the record is not JSON"),
        ("bad_identifier", "no alert of this id is kept"),
        ("schema", "not valid at $.labelled_at"),
        ("schema", "not valid at $.labelled_at"),
    ]
    assert desk.line.finished == {(LABELS.name, 0): 4}
