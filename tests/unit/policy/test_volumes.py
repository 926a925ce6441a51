"""Entitlements against their use: told before the limit, once for each level, and never an accusation."""

from __future__ import annotations

from typing import Any

from detection.policy.volumes import Volume, alert_of, notices

DAY = 86_400_000
NOW = 1_767_225_600_000


def volume(**changes: Any) -> Volume:
    told: dict[str, Any] = {
        "entitlement_id": "e1",
        "subject_kind": "campaign",
        "subject": "f" * 16,
        "reference": "contract 7",
        "day": "2026-01-01",
        "requests_today": 0,
        "tokens_today": 0,
        "requests_total": 0,
        "tokens_total": 0,
        "daily_requests": 1000,
        "daily_tokens": None,
        "total_requests": None,
        "total_tokens": 10_000,
        "ends_ms": NOW + 100 * DAY,
        "grace_ms": 14 * DAY,
    }
    return Volume(**(told | changes))


def names(of: Volume, now_ms: int = NOW) -> list[str]:
    return [notice.name for notice in notices(of, now_ms)]


def test_a_volume_is_told_at_four_fifths_and_at_its_limit() -> None:
    assert names(volume(requests_today=799, tokens_total=7999)) == []
    assert names(volume(requests_today=800)) == ["2026-01-01/requests/1"]
    assert names(volume(requests_today=1000, tokens_total=8000)) == ["2026-01-01/requests/2", "total/tokens/1"]


def test_the_end_is_told_two_weeks_before_and_then_with_what_is_left_of_the_grace() -> None:
    assert names(volume(ends_ms=NOW + 14 * DAY + 1)) == []
    (ending,) = notices(volume(ends_ms=NOW + 2 * DAY), NOW)
    assert (ending.name, ending.level) == ("ending", 1)
    (ended,) = notices(volume(ends_ms=NOW - DAY), NOW)
    assert (ended.name, ended.title) == (
        "ended",
        "Entitlement contract 7 has ended; it holds for 13 more days of grace",
    )


def test_a_notice_is_an_alert_of_its_own_kind_that_names_nobody_and_grows() -> None:
    first = alert_of(volume(), notices(volume(requests_today=800), NOW)[0], NOW, "test")
    second = alert_of(volume(), notices(volume(requests_today=1500), NOW)[0], NOW, "test")
    assert first.kind == second.kind == "entitlement_notice"
    assert (first.alert_id, first.revision, second.revision) == (second.alert_id, 1, 2)
    assert first.members == second.members == []
    assert (first.severity, second.severity, second.score) == ("low", "medium", 1.5)
    term = notices(volume(ends_ms=NOW), NOW)[0]
    assert alert_of(volume(), term, NOW, "test").alert_id != first.alert_id
