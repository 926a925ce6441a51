"""The figures that an evaluation gives, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from detection.ids import rfc3339
from detection.outcomes import Alert, Member
from services.evaluation.truth import Truth, TruthFileError, evaluate, read_truth

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3_600_000
DAY = 24 * HOUR
T0 = 1_780_012_800_000


def account(number: int) -> str:
    return f"{number:016x}"


def alert(alert_id: str, strengths: dict[int, float], *, at: int, revision: int = 1, kind: str = "alert") -> Alert:
    return Alert(
        alert_id=alert_id,
        revision=revision,
        kind=kind,  # type: ignore[arg-type]  # One of the two words.
        lane="pool",
        subject_kind="campaign",
        subject=alert_id,
        event_time=rfc3339(T0 + 2 * HOUR),
        updated_time=rfc3339(at),
        score=5.0,
        severity="high",
        confidence=0.9,
        title="",
        requests=1,
        contributions=[],
        members=[
            Member(account=account(n), customer=account(n), requests=1, strength=s, since=rfc3339(at))
            for n, s in strengths.items()
        ],
        findings=[],
        config_version="v",
    )


TRUTH = [
    *[Truth(account=f"raw{n}", campaign="c1", recipe="harvest") for n in range(1, 6)],
    *[Truth(account=f"raw{n}", campaign="c2", recipe="probe") for n in (6, 7)],
    *[Truth(account=f"raw{n}", recipe="person") for n in range(8, 18)],
    Truth(account="never sent anything", campaign="c3", recipe="harvest"),
]
IDS = {f"raw{n}": account(n) for n in range(1, 18)}


def test_figures_are_those_worked_out_by_hand() -> None:
    revisions = [
        alert("a", {1: 0.9, 2: 0.9, 3: 0.8, 4: 0.4, 9: 0.6}, at=T0 + 2 * HOUR),
        alert("a", {1: 0.9, 2: 0.9, 3: 0.8, 4: 0.7, 9: 0.6}, at=T0 + 5 * HOUR, revision=2),
        alert("b", {10: 0.9, 11: 0.9}, at=T0 + 2 * HOUR),
        alert("d", {12: 0.9, 13: 0.2}, at=T0 + 2 * HOUR, kind="verification_request"),
    ]
    # Each attacker of c1 sends at hours 0, 1, 2, 3; those of c2 at hour 0.
    times = {n: [T0 + hour * HOUR for hour in range(4)] for n in range(1, 6)} | {6: [T0], 7: [T0]}
    judged = evaluate(revisions, TRUTH, IDS, times, 2 * DAY)
    first, second = judged.campaigns
    assert (first.campaign, first.found, first.accounts, first.named_share) == ("c1", True, 5, 0.8)
    # The alert comes at hour 2: 2 of 4 requests of each account are before it.
    assert (first.hours_to_alert, first.requests_before_alert, first.requests_after_share) == (2.0, 10, 0.5)
    assert (second.campaign, second.found, second.named_share, second.hours_to_alert) == ("c2", False, 0.0, None)
    assert (second.requests_before_alert, second.requests_after_share) == (2, 0.0)
    assert (judged.campaigns_found, judged.attack_accounts, judged.attack_accounts_named_share) == (1, 7, 0.5714)
    # Named: 1, 2, 3, 4 and honest 9, 10, 11, 12.
    assert (judged.honest_accounts, judged.honest_accounts_named, judged.honest_named_share) == (10, 4, 0.4)
    assert judged.honest_named_by_recipe == {"person": 4}
    assert judged.named_precision == 0.5
    assert (judged.alerts, judged.false_incidents, judged.false_verification_requests) == (3, 1, 1)
    assert judged.false_incidents_per_day == 0.5


def test_without_requests_the_shares_of_requests_are_not_told() -> None:
    judged = evaluate([alert("a", {1: 0.9, 2: 0.9, 3: 0.9}, at=T0, revision=4)], TRUTH, IDS, None, DAY)
    assert judged.campaigns[0].found
    assert judged.campaigns[0].requests_after_share is None


def test_no_alerts_are_no_alarms() -> None:
    judged = evaluate([], TRUTH, IDS, None, DAY)
    assert (judged.alerts, judged.campaigns_found, judged.named_precision) == (0, 0, None)


def test_a_truth_file_is_read_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    path.write_text('{"account": "a", "campaign": null, "recipe": "person"}\n\n{"account": "b", "campaign": "c"}\n')
    assert [row.campaign for row in read_truth(path)] == [None, "c"]
    path.write_text("{}\n")
    with pytest.raises(TruthFileError, match="account"):
        read_truth(path)
    with pytest.raises(TruthFileError):
        read_truth(tmp_path / "absent")
