"""The exploration stratum: a few subjects from below thresholds and bars, drawn by a hash, shown to get labels.

Verdicts on alerts alone teach the head the difference between alerts, and never what the thresholds miss. Who is drawn
depends on the subject's keyed id only, so nobody can choose it, a replay draws the same, and a subject is drawn once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detection.features.wording import because
from detection.ids import digest_hex, mix
from detection.incidents.incident import quote
from detection.outcomes import Alert, Finding, Member
from detection.ranking.bars import HELD_SHARE
from detection.ranking.priority import rank_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detection.columns import UInt64Array
    from detection.config import Exploration

LEAD_STRENGTH: Final = 0.49  # Below one half: nobody is named by a draw.
_HALF: Final = np.uint64(32)  # Bits.


class Explored(msgspec.Struct, kw_only=True):
    """What was drawn: the hour of the budget and what it has used, and the subjects with the hop of each."""

    hour: int = -1
    used: int = 0
    subjects: dict[str, int] = {}


def drawn(subjects: UInt64Array, share: float) -> NDArray[np.bool_]:
    """Say which of these subjects are in the stratum."""
    drawn_from: UInt64Array = mix(subjects) >> _HALF
    return drawn_from < np.uint64(round(share * 2**32))


def is_subject_drawn(subject: str, share: float) -> bool:
    """Say the same of one subject, by its name."""
    return bool(drawn(np.array([int(subject, 16)], np.uint64), share)[0])


def as_draw(finding: Finding, share: float) -> Finding:
    """Mark what is not above its threshold, or its bar, and was drawn with this probability; it names nobody."""
    return msgspec.structs.replace(
        finding,
        finding_id=digest_hex("exploration", finding.finding_id),
        propensity=share,
        members=[msgspec.structs.replace(member, strength=LEAD_STRENGTH) for member in finding.members],
    )


def is_drawn(finding: Finding) -> bool:
    """Tell a draw from a finding above its threshold."""
    return finding.propensity < 1.0


def take_in(explored: Explored, findings: Sequence[Finding], hour: int, config: Exploration) -> list[Finding]:
    """Give those of one hop's draws that are shown: each subject once, within the hour's budget, by id."""
    if hour != explored.hour:
        explored.hour, explored.used = hour, 0
    shown: list[Finding] = []
    for finding in sorted(findings, key=lambda one: one.finding_id):
        if finding.subject in explored.subjects or explored.used >= config.alerts_per_hour:
            continue
        explored.subjects[finding.subject] = finding.hop
        explored.used += 1
        shown.append(finding)
    return shown


def show(finding: Finding, members: list[Member], history: Sequence[float], time: str) -> Alert:
    """Make the one revision of an exploration: it accuses nobody, and stands behind every alert."""
    limit = "bar" if finding.propensity >= HELD_SHARE else "threshold"
    reasons = because(item.feature for item in finding.evidence if item.weight > 0) or "nothing"
    customers = len({member.customer for member in members})
    who = "One account" if finding.lane == "account" else f"{customers:,} customers"
    return Alert(
        alert_id=digest_hex("exploration", finding.lane, finding.subject, finding.hop),
        revision=1,
        kind="exploration",
        lane=finding.lane,
        subject_kind="account" if finding.lane == "account" else "campaign",
        subject=finding.subject,
        event_time=time,
        updated_time=time,
        score=finding.score,
        severity="low",
        confidence=0.0,
        title=f"{who} drawn at random from below the {limit}; most unusual: {reasons}",
        requests=sum(member.requests for member in members),
        contributions=finding.evidence,
        members=sorted(members, key=lambda member: member.account),
        findings=[quote(finding)],
        config_version=finding.config_version,
        provisional=finding.provisional,
        rank=rank_of(finding.score / finding.threshold, history),
        propensity=finding.propensity,
    )
