"""An alert's evidence as pictures and sentences: bars, a timeline, shares, and what would clear it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from detection.pools.thresholds import threshold_of as pool_threshold
from services.adapters.postgres.moments import read_moment
from services.console.wording import feature_words, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.config import DetectionConfig
    from services.api.models import AlertDetail, Contribution, Finding, Member

WIDTH: Final = 720.0
HEIGHT: Final = 160.0
_MARGIN: Final = 8.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One contribution as two bars on one scale from the lowest value (or zero) to the highest, 0..100."""

    feature: str
    words: str
    actual: str
    expected: str
    weight: float
    actual_from: float
    actual_width: float
    expected_from: float
    expected_width: float
    share: float


class Revision(Protocol):
    """What a timeline needs of a revision."""

    @property
    def revision(self) -> int:
        """Its number."""

    @property
    def score(self) -> float:
        """Its score."""

    @property
    def config_version(self) -> str:
        """The configuration that made it."""

    @property
    def updated_time(self) -> str:
        """Its moment, RFC 3339."""


@dataclass(frozen=True, slots=True)
class Point:
    """A finding or a revision on the timeline, in pixels, with what it says."""

    x: float
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Band:
    """From where to where a configuration stood, in pixels."""

    x: float
    width: float
    version: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The findings' scores by time above a threshold, with revisions and configuration bands, on ``WIDTH x HEIGHT``."""

    findings: Sequence[Point]
    line: str
    revisions: Sequence[Point]
    bands: Sequence[Band]
    threshold_y: float
    first: datetime
    last: datetime
    top: float


def bars(contributions: Sequence[Contribution]) -> list[Bar]:
    """Draw contributions, heaviest first; each pair of bars has a scale of its own."""
    total = sum(abs(row.weight) for row in contributions) or 1.0
    drawn: list[Bar] = []
    for row in sorted(contributions, key=lambda row: -abs(row.weight)):
        low, high = min(row.actual, row.expected, 0.0), max(row.actual, row.expected, 0.0)
        scale = (high - low) or 1.0
        drawn.append(
            Bar(
                feature=row.feature.replace("_", " "),
                words=feature_words(row.feature),
                actual=number(row.actual),
                expected=number(row.expected),
                weight=row.weight,
                actual_from=round(100 * (min(row.actual, 0.0) - low) / scale, 1),
                actual_width=round(100 * abs(row.actual) / scale, 1),
                expected_from=round(100 * (min(row.expected, 0.0) - low) / scale, 1),
                expected_width=round(100 * abs(row.expected) / scale, 1),
                share=round(100 * abs(row.weight) / total, 1),
            )
        )
    return drawn


def threshold_of(config: DetectionConfig, alert: AlertDetail) -> float:
    """Give the threshold that the running configuration has for what is strongest in an alert."""
    if alert.lane == "account":
        return config.accounts.threshold
    strongest = max(alert.findings, key=lambda finding: finding.score, default=None)
    return pool_threshold(strongest.customers if strongest else 0, config.pools)


def what_would_clear(contributions: Sequence[Contribution], score: float, threshold: float) -> list[str]:
    """Name the fewest features, heaviest first, whose return to the expected value brings the score to the threshold.

    Empty where even all of them together do not.
    """
    left = score
    named: list[str] = []
    for row in sorted(contributions, key=lambda row: -row.weight):
        if left < threshold or row.weight <= 0:
            break
        left -= row.weight
        named.append(f"{row.feature.replace('_', ' ')} back at {number(row.expected)}, from {number(row.actual)}")
    return named if left < threshold else []


def families(findings: Sequence[Finding]) -> list[tuple[str, int, float]]:
    """Give what links the members: family, number of pools, strongest score; strongest first."""
    pools: dict[str, set[str]] = {}
    best: dict[str, float] = {}
    for finding in findings:
        pools.setdefault(finding.family, set()).add(finding.subject)
        best[finding.family] = max(best.get(finding.family, 0.0), finding.score)
    return sorted(((name, len(pools[name]), best[name]) for name in pools), key=lambda row: -row[2])


def request_mix(members: Sequence[Member], shown: int = 6) -> list[tuple[str, int, float]]:
    """Give the organisations with most requests among the members: id, requests, share of them; the rest as ""."""
    counted: Counter[str] = Counter()
    for member in members:
        counted[member.customer] += member.requests
    total = counted.total() or 1
    first = counted.most_common(shown)
    rest = counted.total() - sum(count for _, count in first)
    rows = [(name, count, count / total) for name, count in first]
    return [*rows, ("", rest, rest / total)] if rest else rows


def timeline(alert: AlertDetail, revisions: Sequence[Revision], hop_ms: int, threshold: float) -> Timeline:
    """Lay findings and revisions out by time."""
    moments = [datetime.fromtimestamp((finding.hop + 1) * hop_ms / 1000, UTC) for finding in alert.findings]
    turns = [read_moment(row.updated_time) for row in revisions]
    every = [*moments, *turns, alert.event_time, alert.updated_time]
    first, last = min(every), max(every)
    span = (last - first).total_seconds() or 1.0
    top = max([threshold, *(finding.score for finding in alert.findings), *(row.score for row in revisions)]) * 1.08

    def x(moment: datetime) -> float:
        return round(_MARGIN + (moment - first).total_seconds() / span * (WIDTH - 2 * _MARGIN), 1)

    def y(score: float) -> float:
        return round(HEIGHT - _MARGIN - score / top * (HEIGHT - 2 * _MARGIN), 1)

    points = sorted(
        (
            Point(x(moment), y(finding.score), f"{finding.family or 'account'} {finding.score:.2f}")
            for moment, finding in zip(moments, alert.findings, strict=True)
        ),
        key=lambda point: point.x,
    )
    marks = [
        Point(x(moment), y(row.score), f"revision {row.revision}, score {row.score:.2f}")
        for moment, row in zip(turns, revisions, strict=True)
    ]
    bands: list[Band] = []
    for place, (moment, row) in enumerate(zip(turns, revisions, strict=True)):
        end = x(turns[place + 1]) if place + 1 < len(turns) else WIDTH - _MARGIN
        start = _MARGIN if place == 0 else x(moment)
        if bands and bands[-1].version == row.config_version:
            bands[-1] = Band(bands[-1].x, end - bands[-1].x, row.config_version)
        else:
            bands.append(Band(start, max(end - start, 0.0), row.config_version))
    line = " ".join(f"{mark.x},{mark.y}" for mark in marks)
    return Timeline(points, line, marks, bands, y(threshold), first, last, top)
