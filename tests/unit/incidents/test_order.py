"""The head in the incidents step: whatever it says, no alert is missing, none is milder, none is another."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.config import DetectionConfig, IncidentPolicy
from detection.incidents.step import IncidentsStep
from detection.ranking.head import TrainedHead
from detection.ranking.priority import weight_of
from schemas.model_version import ModelVersion
from tests.stream_jobs.findings import feed, findings_log

if TYPE_CHECKING:
    from detection.outcomes import Alert

NUMBERS = st.floats(-1e12, 1e12)
FEATURES = ("dispersion", "confidence", "customers", "score.pool", "score.account")


@st.composite
def heads(draw: st.DrawFn) -> ModelVersion:
    """Any head at all, as an adversary would wish for."""
    parameters = {"intercept": draw(NUMBERS), "steps": 1.0}
    for name in draw(st.sets(st.sampled_from(FEATURES))):
        parameters |= {f"count.{name}": 9.0, f"mean.{name}": draw(NUMBERS)}
        parameters |= {f"variance.{name}": draw(st.floats(0, 1e12)), f"weight.{name}": draw(NUMBERS)}
    return ModelVersion(
        model="supervised",
        version=draw(st.integers(1, 1000)),
        stage="live",
        trained_on=1000,
        positives=draw(st.integers(0, 1000)),
        created_at="2026-01-02T03:04:05.000Z",
        parameters=parameters,
    )


def play(log: list[bytes], config: DetectionConfig, head: ModelVersion | None, until: int = 0) -> list[Alert]:
    step = IncidentsStep(config, 2, 2)
    step.order_by(head)
    for raw in log:
        feed(step, raw)
    for partition in (0, 1) if until else ():
        step.closed("accounts", partition, until)
        step.closed("pools", partition, until)
    return step.take()


def plain(alert: Alert) -> Alert:
    return msgspec.structs.replace(alert, priority=0.0, model="")


@settings(max_examples=60, deadline=None)
@given(heads(), st.integers(0, 5))
def test_a_head_changes_an_alerts_place_and_nothing_else(head: ModelVersion, seed: int) -> None:
    log = findings_log(12, 2, seed)
    without, ordered = play(log, DetectionConfig(), None), play(log, DetectionConfig(), head)
    # Within one hop the order of raising may differ, and with it what a rank is a rank among.
    key = {(alert.alert_id, alert.revision): plain(alert) for alert in without}
    found = {(alert.alert_id, alert.revision): plain(alert) for alert in ordered}
    assert {place: msgspec.structs.replace(alert, rank=0.0) for place, alert in found.items()} == {
        place: msgspec.structs.replace(alert, rank=0.0) for place, alert in key.items()
    }
    for alert in ordered:
        assert 0.0 <= alert.priority <= 1.0
        assert abs(alert.priority - alert.rank) <= 0.4 + 1e-4
        assert (alert.model == "") == (head.positives < 20)
    assert ordered


@settings(max_examples=40, deadline=None)
@given(heads(), st.integers(0, 3))
def test_under_a_tight_budget_every_incident_is_raised_and_the_best_does_not_wait_for_the_worst(
    head: ModelVersion, seed: int
) -> None:
    config = DetectionConfig(incidents=IncidentPolicy(alerts_per_hour=1))
    log = findings_log(6, 2, seed)
    plentiful = {alert.alert_id for alert in play(log, DetectionConfig(), None)}
    raised = [alert for alert in play(log, config, head, until=4 * (len(plentiful) + 10)) if alert.revision == 1]
    assert {alert.alert_id for alert in raised} == plentiful
    # After the last finding one leaves each hour. Ranks move with what was raised, by one place in eight and more.
    waited = [alert for alert in raised if alert.event_time > "1970-01-01T01:30:00.000Z"]
    weight = weight_of(TrainedHead.of(head))
    for earlier, later in itertools.pairwise(waited):
        assert later.rank - earlier.rank <= weight / (1 - weight) + 1 / 8


def test_without_a_head_incidents_wait_by_their_scores() -> None:
    config = DetectionConfig(incidents=IncidentPolicy(alerts_per_hour=1))
    raised = [alert for alert in play(findings_log(6, 2, 1), config, None, until=200) if alert.revision == 1]
    waited = [alert for alert in raised if alert.event_time > "1970-01-01T01:30:00.000Z"]
    ratios = [max(finding.score for finding in alert.findings) / 3.0 for alert in waited]
    assert ratios == sorted(ratios, reverse=True)
    assert all(alert.priority == alert.rank for alert in raised)
