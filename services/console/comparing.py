"""Two runs' alerts side by side: which are in both, which only one has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.outcomes import Alert

SAME: Final = 0.5  # Share of the accounts of both that two alerts must have in common.
SHOWN: Final = 200


def compare(running: Sequence[Alert], candidate: Sequence[Alert]) -> dict[str, Any]:
    """Pair alerts by subject, else by their accounts, each once; the rest was gained or lost."""
    left = {alert.alert_id: alert for alert in candidate}
    both: list[dict[str, Any]] = []
    lost: list[dict[str, Any]] = []
    for alert in running:
        other = _partner(alert, list(left.values()))
        if other is None:
            lost.append(_told(alert))
        else:
            del left[other.alert_id]
            both.append(_told(alert) | {"candidate_score": other.score, "candidate_members": len(other.members)})
    gained = [_told(alert) for alert in left.values()]
    return {
        "running": len(running),
        "candidate": len(candidate),
        "both": len(both),
        "gained": sorted(gained, key=lambda row: -row["score"])[:SHOWN],
        "lost": sorted(lost, key=lambda row: -row["score"])[:SHOWN],
        "kept": sorted(both, key=lambda row: -row["score"])[:SHOWN],
    }


def _partner(alert: Alert, others: Sequence[Alert]) -> Alert | None:
    for other in others:
        if other.lane == alert.lane and other.subject == alert.subject:
            return other
    mine = {member.account for member in alert.members}
    best, nearest = SAME, None
    for other in others:
        theirs = {member.account for member in other.members}
        share = len(mine & theirs) / len(mine | theirs) if mine or theirs else 0.0
        if share >= best:
            best, nearest = share, other
    return nearest


def _told(alert: Alert) -> dict[str, Any]:
    return {
        "alert_id": alert.alert_id,
        "lane": alert.lane,
        "title": alert.title,
        "severity": alert.severity,
        "score": alert.score,
        "members": len(alert.members),
        "event_time": alert.event_time,
    }
