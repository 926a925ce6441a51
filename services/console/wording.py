"""Words and numbers as a reader takes them in: ages, counts, shares, names of codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from detection.families import FAMILIES, Family
from detection.features.wording import WORDS

if TYPE_CHECKING:
    from datetime import datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_COMPACT: Final = ((1e9, "G"), (1e6, "M"), (1e4, "k"))
VERDICTS: Final[dict[str, tuple[int, str, str]]] = {
    # Verdict: OCSF's verdict_id, the word, the key that gives it.
    "true_positive": (2, "True positive", "1"),
    "false_positive": (1, "False positive", "2"),
    "benign": (5, "Benign", "3"),
    "insufficient_data": (7, "Insufficient data", "4"),
}
SEVERITIES: Final = ("critical", "high", "medium", "low")
FACET_NAMES: Final[dict[str, str]] = {
    "state": "State",
    "severity": "Severity",
    "kind": "Kind",
    "lane": "Lane",
    "subject_kind": "Subject",
    "detector": "Detector",
    "family": "Recipe family",
    "assignee": "Assignee",
}
_FAMILY_WORDS: Final = {family.name.lower(): FAMILIES[family].attribute for family in Family}


def age(now: datetime, moment: datetime) -> str:
    """Say how long ago a moment was, in its largest unit."""
    seconds = int((now - moment).total_seconds())
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {name}"
    return "now"


def until(now: datetime, moment: datetime) -> str:
    """Say how long it is until a moment; "over" where it has passed."""
    return age(moment, now) if moment > now else "over"


def age_class(now: datetime, moment: datetime) -> str:
    """Name how stale something is, for its colour: fresh, warm (over 4 h) or old (over a day)."""
    seconds = (now - moment).total_seconds()
    return "old" if seconds >= _DAY else "warm" if seconds >= 4 * _HOUR else "fresh"


def number(value: float) -> str:
    """Write a number with as many digits as a reader compares: four."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def compact(value: float) -> str:
    """Write a large number short: 12.3k, 4.5M."""
    for unit, name in _COMPACT:
        if abs(value) >= unit:
            return f"{value / (1e3 if name == 'k' else unit):.3g}{name}"
    return number(round(value, 1))


def percent(share: float) -> str:
    """Write a share as whole percent."""
    return f"{share * 100:.0f} %"


def seconds(value: float) -> str:
    """Write a duration in the unit that reads best."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 2 * _MINUTE:
        return f"{value:.1f} s"
    return f"{value / _MINUTE:.0f} min" if value < 2 * _HOUR else f"{value / _HOUR:.1f} h"


def words(code: str) -> str:
    """Turn a code into words: "verification_request" is "verification request"."""
    return code.replace("_", " ").replace("-", " ")


def feature_words(feature: str) -> str:
    """Say what it means that a feature lies far out."""
    return WORDS.get(feature, words(feature))


def family_words(family: str) -> str:
    """Say what the members of a pool of this family share."""
    return _FAMILY_WORDS.get(family, words(family) if family else "the account's own behaviour")


def verdict_words(verdict: str) -> str:
    """Name a verdict."""
    return VERDICTS[verdict][1] if verdict in VERDICTS else words(verdict)


def short(identifier: str) -> str:
    """Cut an identifier to what an eye compares; the whole one stands in the link."""
    return identifier[:8]
