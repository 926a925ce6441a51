"""Entitlements against their use: what is told, and when, before a limit is reached and before a licence ends. Pure.

A notice restricts nobody. It is told once for each of its names; a day's notices name the day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from detection.ids import digest_hex, rfc3339
from detection.outcomes import Alert, Evidence, FindingReference, SubjectKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detection.outcomes import Severity

WARNING: Final = 0.8  # Of a volume: early enough to speak with the customer before it is used up.
ENDING_MS: Final = 14 * 86_400_000
_DETECTOR: Final = "entitlement-meter"


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """What may be used and what was; limits that are None do not limit. Tokens are output tokens."""

    entitlement_id: str
    subject_kind: SubjectKind  # An organisation is told as a campaign: a group of accounts.
    subject: str
    reference: str
    day: str  # ISO 8601, UTC.
    requests_today: int
    tokens_today: int
    requests_total: int
    tokens_total: int
    daily_requests: int | None
    daily_tokens: int | None
    total_requests: int | None
    total_tokens: int | None
    ends_ms: int
    grace_ms: int


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell; ``name`` is told once. ``used`` and ``limit`` are in the unit of ``what``."""

    name: str
    what: str
    level: int  # 1: warning, 2: reached.
    used: float
    limit: float
    title: str


def notices(volume: Volume, now_ms: int) -> list[Notice]:
    """Give all that is to be told by now; who has told a name already leaves it out."""
    found = list(_volumes(volume))
    left = volume.ends_ms - now_ms
    if left <= 0:
        days = max(volume.grace_ms + left, 0) // 86_400_000
        title = f"Entitlement {volume.reference} has ended; it holds for {days} more days of grace"
        found.append(Notice(name="ended", what="term", level=2, used=1.0, limit=1.0, title=title))
    elif left <= ENDING_MS:
        title = f"Entitlement {volume.reference} ends in {left // 86_400_000 + 1} days"
        found.append(Notice(name="ending", what="term", level=1, used=0.0, limit=1.0, title=title))
    return found


def alert_of(volume: Volume, notice: Notice, now_ms: int, config_version: str) -> Alert:
    """Write a notice as an alert of its own kind: it names no member, and opens no decision."""
    family = notice.name.rpartition("/")[0] or "term"
    alert_id = digest_hex("entitlement", volume.entitlement_id, family)
    severity: Severity = "medium" if notice.level > 1 else "low"
    moment = rfc3339(now_ms)
    share = round(notice.used / notice.limit, 4)
    return Alert(
        alert_id=alert_id,
        revision=notice.level,
        kind="entitlement_notice",
        lane="entitlement",
        subject_kind=volume.subject_kind,
        subject=volume.subject,
        event_time=moment,
        updated_time=moment,
        score=share,
        severity=severity,
        confidence=1.0,
        title=notice.title,
        requests=volume.requests_total,
        contributions=[Evidence(feature=notice.what, actual=notice.used, expected=notice.limit, weight=share)],
        members=[],
        findings=[
            FindingReference(
                finding_id=digest_hex("entitlement", volume.entitlement_id, notice.name),
                lane="entitlement",
                detector=_DETECTOR,
                family="",
                subject=volume.subject,
                hop=0,
                score=share,
                customers=1,
                requests=volume.requests_total,
            )
        ],
        config_version=config_version,
    )


def _volumes(volume: Volume) -> Iterator[Notice]:
    rows = (
        (f"{volume.day}/requests", "requests of the day", volume.requests_today, volume.daily_requests),
        (f"{volume.day}/tokens", "output tokens of the day", volume.tokens_today, volume.daily_tokens),
        ("total/requests", "requests in all", volume.requests_total, volume.total_requests),
        ("total/tokens", "output tokens in all", volume.tokens_total, volume.total_tokens),
    )
    for name, what, used, limit in rows:
        if limit is None or used < WARNING * limit:
            continue
        level = 2 if used >= limit else 1
        title = f"Entitlement {volume.reference} has used {used / limit:.0%} of its {what} ({used:,} of {limit:,})"
        yield Notice(name=f"{name}/{level}", what=what, level=level, used=used, limit=limit, title=title)
