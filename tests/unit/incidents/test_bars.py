"""Bars in the incidents step: nothing well above a threshold is held, and nothing that is held is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.config import DetectionConfig, Exploration
from detection.incidents.step import IncidentsStep
from detection.outcomes import Alert, Finding
from detection.ranking.bars import HELD_SHARE, LANES, MOST_BAR
from detection.ranking.exploring import is_subject_drawn
from schemas.finding import decode_finding, encode_finding
from schemas.model_version import ModelVersion
from tests.stream_jobs.findings import feed, finding, findings_log

if TYPE_CHECKING:
    from collections.abc import Iterable

CONFIG = DetectionConfig(exploration=Exploration(alerts_per_hour=0))
HOUR = 4  # Hops.


def bars(**lanes: float) -> ModelVersion:
    return ModelVersion(
        model="bars",
        version=3,
        stage="live",
        trained_on=0,
        positives=0,
        created_at="2026-01-02T03:04:05.000Z",
        parameters={f"bar.{lane}": bar for lane, bar in lanes.items()},
    )


HIGHEST = bars(pool=9.0, account=9.0, link=9.0)


def played(log: Iterable[bytes], record: ModelVersion | None, config: DetectionConfig = CONFIG) -> IncidentsStep:
    step = IncidentsStep(config, 2, 2)
    step.hold_by(record)
    for raw in log:
        feed(step, raw)
    return step


def louder(raw: bytes, factor: float) -> bytes:
    told = decode_finding(raw)
    if not isinstance(told, Finding):
        return raw
    return encode_finding(msgspec.structs.replace(told, score=round(told.score * factor, 4)))


def close(step: IncidentsStep, hop: int) -> list[Alert]:
    for partition in (0, 1):
        step.closed("accounts", partition, hop)
        step.closed("pools", partition, hop)
    return step.take()


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(LANES), st.floats(allow_nan=False, allow_infinity=False)),
    st.integers(0, 5),
    st.sampled_from([1.0, 1.3, 2.0]),
)
def test_no_bar_silences_what_stands_well_above_its_threshold_or_is_graded_high(
    lanes: dict[str, float], seed: int, factor: float
) -> None:
    log = [louder(raw, factor) for raw in findings_log(12, 2, seed)]
    without, step = played(log, None), played(log, bars(**lanes))
    raised = {alert.alert_id: alert for alert in step.take()}
    for alert in {alert.alert_id: alert for alert in without.take()}.values():
        loud = max(one.score for one in alert.findings) / 3.0 >= MOST_BAR or alert.severity in {"high", "critical"}
        if loud:
            last = raised[alert.alert_id]
            assert {member.account for member in last.members} == {member.account for member in alert.members}
            assert last.severity == alert.severity
        elif alert.alert_id not in raised:
            assert step.held[alert.lane] > 0
    assert sum(step.held.values()) + len(raised) == len(without.standing) == len(step.standing)


def test_what_a_bar_holds_is_counted_and_comes_when_the_bar_goes() -> None:
    log = findings_log(12, 2, 1)
    everyone = {alert.alert_id for alert in played(log, None).take()}
    step = played(log, HIGHEST)
    early = {alert.alert_id for alert in step.take()}
    assert step.bars == "bars/3"
    assert sum(step.held.values()) == len(everyone) - len(early) > 0
    assert step.unraised == 0
    # A state that is written and read in between forgets none.
    again = IncidentsStep(CONFIG, 2, 2)
    again.hold_by(HIGHEST)
    again.load(step.state())
    assert (again.held, again.state()) == (step.held, step.state())
    again.hold_by(None)
    assert again.bars == ""
    late = {alert.alert_id for hop in range(12, 12 + 10 * HOUR) for alert in close(again, hop)}
    assert late == everyone - early
    assert sum(again.held.values()) == 0


def test_what_was_raised_stays_raised_and_grows_under_a_higher_bar() -> None:
    step = IncidentsStep(CONFIG, 2, 2)
    step.add(finding("pool", 0, "a" * 16, [1, 2, 3, 4], 3.1))
    (first,) = close(step, 0)
    step.hold_by(HIGHEST)
    step.add(finding("pool", 1, "a" * 16, list(range(1, 10)), 3.2))
    (second,) = close(step, 1)
    assert (second.alert_id, second.revision) == (first.alert_id, 2)


def test_a_held_incident_is_raised_whole_once_one_of_its_findings_clears_its_own_lanes_bar() -> None:
    step = IncidentsStep(CONFIG, 2, 2)
    step.hold_by(bars(pool=1.4))
    step.add(finding("pool", 0, "a" * 16, [1, 2, 3, 4], 3.1))
    assert close(step, 0) == []
    assert step.held == {"pool": 1, "account": 0, "link": 0}
    # An account's own finding, in a lane that has no bar now, speaks for the group that it is in.
    step.add(finding("account", 1, f"{2:016x}", [2], 3.1))
    (alert,) = close(step, 1)
    assert (alert.revision, len(alert.members), len(alert.findings)) == (1, 4, 2)


def test_a_group_that_is_graded_high_is_raised_at_its_threshold_whatever_the_bar() -> None:
    step = IncidentsStep(CONFIG, 2, 2)
    step.hold_by(HIGHEST)
    step.add(finding("pool", 0, "a" * 16, list(range(1, 100)), 3.01))
    assert close(step, 0) == []
    assert step.held["pool"] == 1
    # It grew: three hundred at the threshold are more than fifty well above it.
    step.add(finding("pool", 1, "a" * 16, list(range(1, 301)), 3.01))
    (alert,) = close(step, 1)
    assert (alert.severity, len(alert.members)) == ("high", 300)
    assert step.held["pool"] == 0


def test_a_probe_is_a_fact_that_no_bar_holds() -> None:
    step = IncidentsStep(CONFIG, 2, 2)
    step.hold_by(bars(pool=9.0, account=9.0, link=9.0, probe=9.0))
    probe = msgspec.structs.replace(finding("probe", 0, "b" * 16, [1], 3.0), family="")
    step.add(probe)
    assert [alert.lane for alert in close(step, 0)] == ["probe"]


def test_a_share_of_what_is_held_is_shown_as_a_draw_that_accuses_nobody() -> None:
    drawn = next(f"{number:016x}" for number in range(1, 1000) if is_subject_drawn(f"{number:016x}", HELD_SHARE))
    other = next(f"{number:016x}" for number in range(1, 1000) if not is_subject_drawn(f"{number:016x}", HELD_SHARE))
    step = IncidentsStep(DetectionConfig(), 2, 2)
    step.hold_by(HIGHEST)
    step.add(finding("pool", 0, drawn, [1, 2, 3, 4], 3.3))
    step.add(finding("pool", 0, other, [11, 12, 13, 14], 3.3))
    (shown,) = close(step, 0)
    assert (shown.kind, shown.subject, shown.propensity, shown.severity) == ("exploration", drawn, HELD_SHARE, "low")
    assert "below the bar" in shown.title
    assert len(shown.members) == 4
    assert all(member.strength < 0.5 for member in shown.members)
    # Once is enough, and it is still an incident of its own.
    step.add(finding("pool", HOUR, drawn, [1, 2, 3, 4], 3.4))
    assert close(step, HOUR) == []
    step.hold_by(None)
    assert {alert.kind for hop in range(HOUR + 1, 3 * HOUR) for alert in close(step, hop)} == {"alert"}


def test_a_state_from_before_there_were_bars_is_held_by_its_strongest_finding() -> None:
    step = IncidentsStep(CONFIG, 2, 2)
    step.hold_by(HIGHEST)
    step.add(finding("pool", 0, "a" * 16, [1, 2, 3, 4], 3.1))
    close(step, 0)
    state = msgspec.msgpack.decode(step.state())
    for incident in state["incidents"].values():
        del incident["peaks"], incident["founded_hop"]
    older = IncidentsStep(CONFIG, 2, 2)
    older.load(msgspec.msgpack.encode(state))
    assert older.standing == []
    older.hold_by(bars(pool=1.01))
    assert len(close(older, HOUR)) == 1


def test_bars_that_are_none_change_nothing() -> None:
    step = IncidentsStep(CONFIG, 2, 2)
    step.hold_by(HIGHEST)
    with pytest.raises(ValueError, match="no number"):
        step.hold_by(bars(pool=float("nan")))
    assert step.bars == "bars/3"
