"""An alert's evidence as a feature vector: what the supervised head learns from, without the head's own weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from detection.outcomes import Alert

_SCORE: Final = "score"


def evidence_vector(alert: Alert) -> dict[str, float]:
    """Give the alert's evidence as scored: each feature's addend, and the score itself; names in order."""
    vector = {each.feature: each.weight for each in alert.contributions}
    return dict(sorted((vector | {_SCORE: alert.score}).items()))
