"""Whether an account is asked or accused: what leads decides."""

from __future__ import annotations

import pytest

from detection.outcomes import Evidence, Finding
from detection.policy.purpose import is_harvest, is_study


def finding(**weights: float) -> Finding:
    return Finding(
        finding_id="f",
        lane="account",
        detector="account_tail",
        family="",
        subject=f"{1:016x}",
        hop=1,
        event_time="2026-01-01T00:00:00.000Z",
        score=2.0,
        threshold=1.8,
        customers=1,
        requests=160,
        verified_share=0.0,
        young_share=0.0,
        evidence=[Evidence(feature=name, actual=1.0, expected=0.0, weight=weight) for name, weight in weights.items()],
        members=[],
        config_version="test",
    )


@pytest.mark.parametrize(
    ("weights", "study"),
    [
        ({"repeated_turns": 0.9, "coverage": 1.0}, True),
        ({"cue_grading": 0.9, "echo_share": 0.3}, True),
        ({"cue_grading": 0.9, "echo_share": 1.2}, False),
        # Who reads reasoning traces asks a few things twice as well.
        ({"reasoning_share": 0.9, "repeated_turns": 0.4}, False),
        ({"reasoning_share": 0.4, "choices_share": 0.9}, True),
        ({"repeated_turns": 0.1, "output_input_ratio": 0.9}, False),
    ],
)
def test_what_research_shares_is_asked_about_unless_a_harvests_own_speaks_as_loud(
    weights: dict[str, float], study: bool
) -> None:
    assert is_study(finding(**weights)) == study


def test_what_hardly_adds_to_a_score_is_no_purpose() -> None:
    assert is_harvest(finding(cue_synthesis=0.2))
    assert not is_harvest(finding(cue_synthesis=0.1, coverage=2.0))
