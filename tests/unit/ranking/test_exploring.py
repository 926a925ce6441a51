"""The exploration stratum: a known share, the same at every replay, within its budget, and never a claim."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from detection.config import DetectionConfig, Exploration
from detection.ids import to_hex
from detection.incidents.step import IncidentsStep
from detection.outcomes import Alert, Evidence, Finding, Member
from detection.ranking.exploring import drawn
from schemas.entitlement import Entitlement

CONFIG = DetectionConfig(exploration=Exploration(share=0.05, alerts_per_hour=2))
BASE = 1_900_000
TIME = "2026-01-02T03:00:00.000Z"


def draw(number: int, hop: int = BASE, **changes: object) -> Finding:
    member = Member(account=to_hex(number), customer=to_hex(number), requests=50, strength=0.49, since=TIME)
    whole = Finding(
        finding_id=f"draw-{number}-{hop}",
        lane="account",
        detector="account_tail",
        family="",
        subject=to_hex(number),
        hop=hop,
        event_time=TIME,
        score=0.4,
        threshold=2.0,
        customers=1,
        requests=50,
        verified_share=0.0,
        young_share=0.0,
        evidence=[Evidence(feature="rate", actual=3.0, expected=1.0, weight=0.4)],
        members=[member],
        config_version=CONFIG.version,
        propensity=0.05,
    )
    return msgspec.structs.replace(whole, **changes)


def play(findings: list[Finding], entitled: list[int] = []) -> list[Alert]:  # noqa: B006 - read only
    step = IncidentsStep(CONFIG, 1, 1)
    for number in entitled:
        step.entitle(
            Entitlement(
                entitlement_id=f"e{number}",
                subject_kind="account",
                subject=to_hex(number),
                kind="licence",
                valid_from_unix_ms=0,
                valid_until_unix_ms=2**52,
            )
        )
    for finding in findings:
        step.add(finding)
    # A state that is written and read in between draws the same.
    step.closed("accounts", 0, BASE)
    step.closed("pools", 0, BASE)
    resumed = IncidentsStep(CONFIG, 1, 1)
    resumed.load(step.state())
    resumed.closed("accounts", 0, BASE + 100)
    resumed.closed("pools", 0, BASE + 100)
    return step.take() + resumed.take()


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.05, 1.0])
def test_the_share_that_is_drawn_is_the_one_that_is_told(share: float) -> None:
    ids = np.arange(1, 200_001, dtype=np.uint64)
    chosen = drawn(ids, share)
    assert chosen.mean() == pytest.approx(share, rel=0.15)
    assert (drawn(ids[::-1], share)[::-1] == chosen).all()


def test_a_draw_is_shown_and_accuses_nobody() -> None:
    (alert,) = play([draw(7)])
    assert (alert.kind, alert.severity, alert.confidence, alert.priority) == ("exploration", "low", 0.0, 0.0)
    assert alert.propensity == 0.05
    assert all(member.strength < 0.5 for member in alert.members)
    assert "drawn at random" in alert.title


def test_a_subject_is_drawn_once_and_the_budget_is_of_the_hour() -> None:
    findings = [draw(number, BASE + place) for place in (0, 1, 2, 3) for number in (1, 2, 3)]
    alerts = play(findings)
    # BASE is the first hop of its hour: two of the three, and not the same two again.
    assert len(alerts) == 2
    assert len(play([*findings, draw(9, BASE + 4)])) == 3


def test_who_is_entitled_or_in_an_incident_is_not_drawn() -> None:
    assert play([draw(7)], entitled=[7]) == []
    suspected = draw(7, finding_id="found", score=6.0, propensity=1.0)
    assert [alert.kind for alert in play([suspected, draw(7, BASE + 1)])] == ["alert"]


def test_draws_change_no_alert() -> None:
    found = [draw(number, finding_id=f"found-{number}", score=3.0 + number, propensity=1.0) for number in range(1, 6)]
    draws = [draw(number) for number in range(3, 40)]
    mixed = [alert for alert in play(found + draws) if alert.kind != "exploration"]
    assert mixed == play(found)
