"""What is learned from labels: a fold over their log, so a replay from the start gives the same model, bit by bit."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from detection.features.evidence import evidence_vector

if TYPE_CHECKING:
    from detection.detectors.supervised import SupervisedHead
    from schemas.alert import Alert
    from schemas.label import Label

JUDGED: Final = frozenset({"true_positive", "false_positive", "benign"})


class Judged(NamedTuple):
    """What is kept of an alert: its evidence as scored, and the detector of its strongest finding."""

    vector: dict[str, float]
    detector: str


class _Standing(NamedTuple):
    judged: Judged
    verdict: str


def judged(alert: Alert) -> Judged:
    """Keep what learning needs of an alert."""
    return Judged(evidence_vector(alert), alert.findings[0].detector if alert.findings else alert.lane)


class Lessons:
    """All labels so far. The newest verdict of an alert stands; each label counts once, by ``label_id``."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._standing: dict[str, _Standing] = {}
        self._head: SupervisedHead | None = None
        self.last_time = ""  # Of the last label that counted, RFC 3339.

    @property
    def version(self) -> int:
        """Count the labels: each one makes a version."""
        return len(self._seen)

    @property
    def trained_on(self) -> int:
        """Count the alerts whose standing verdict was learned."""
        return sum(each.verdict in JUDGED for each in self._standing.values())

    @property
    def positives(self) -> int:
        """Count the alerts that people confirmed."""
        return sum(each.verdict == "true_positive" for each in self._standing.values())

    def add(self, label: Label, alert: Judged) -> bool:
        """Take a label; False where it is known. A changed verdict is unlearned by learning all that stand anew."""
        if label.label_id in self._seen:
            return False
        self._seen.add(label.label_id)
        self.last_time = label.labelled_at
        changed = self._standing.pop(label.alert_id, None)
        standing = self._standing[label.alert_id] = _Standing(alert, label.verdict)
        if changed is None:
            self._learn(standing)
        else:
            self._head = None
            for each in self._standing.values():
                self._learn(each)
        return True

    def parameters(self) -> dict[str, float]:
        """Give the head's state as plain numbers."""
        return self._trained().parameters()

    def precision(self) -> dict[str, float]:
        """Give the share of true positives among the judged alerts, by detector."""
        judged_alerts = Counter(each.judged.detector for each in self._standing.values() if each.verdict in JUDGED)
        confirmed = Counter(each.judged.detector for each in self._standing.values() if each.verdict == "true_positive")
        return {detector: confirmed[detector] / count for detector, count in judged_alerts.items()}

    def _learn(self, standing: _Standing) -> None:
        if standing.verdict in JUDGED:
            self._trained().learn_one(standing.judged.vector, confirmed=standing.verdict == "true_positive")

    def _trained(self) -> SupervisedHead:
        # River's linear models bring scipy along: two seconds that a start without labels need not wait for.
        from detection.detectors.supervised import SupervisedHead  # noqa: PLC0415 - as told above

        if self._head is None:
            self._head = SupervisedHead()
        return self._head
