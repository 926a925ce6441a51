"""What is learned from labels: a fold over their log, so a replay from the start gives the same model, bit by bit.

Labels are not a fair sample and not all are right, so each weighs by how it came about. An alert that was drawn at
random with a small probability speaks for the many that were not drawn (inverse propensity, cut at a bound: a few draws
must not drown everything else). And what one organisation's alerts can teach is capped, so that a customer who gets
himself called benign again and again cannot buy silence for whoever acts like him.

Labels come by the dozen, and one pass over so few leaves most of what they say unlearned: with each new one some
earlier ones are practised, chosen by a fixed sequence.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from detection.features.evidence import evidence_vector

if TYPE_CHECKING:
    from detection.detectors.supervised import SupervisedHead
    from detection.outcomes import Alert

_GOLDEN: Final = 2_654_435_769  # 2^32 over the golden ratio.
JUDGED: Final = frozenset({"true_positive", "false_positive", "benign"})
CONFIRMED: Final = "true_positive"
MOST_WEIGHT: Final = 5.0  # Of one label.
PRACTISED: Final = 12  # Earlier labels, with each new one.
ORGANISATION_LABELS: Final = 5  # That teach, of one organisation; those after them count as labels and teach nothing.


class Judged(NamedTuple):
    """What is kept of an alert: its evidence as scored, its detector, whom it is about, how it came to be shown.

    ``score`` is in the unit of the lane that ``scored_in`` names: a campaign's strongest finding may be another lane's.
    """

    vector: dict[str, float]
    detector: str
    organisation: str  # The customer with most of its requests; "" where it names nobody.
    propensity: float
    lane: str = ""
    scored_in: str = ""
    score: float = 0.0


class LabelGiven(NamedTuple):
    """What the fold needs of a label."""

    label_id: str
    alert_id: str
    verdict: str
    labelled_at: str  # RFC 3339.


class _Standing(NamedTuple):
    judged: Judged
    verdict: str


def judged(alert: Alert) -> Judged:
    """Keep what learning needs of an alert."""
    detector = alert.findings[0].detector if alert.findings else alert.lane
    requests: Counter[str] = Counter()
    for member in alert.members:
        requests[member.customer] += member.requests
    # Of customers with as many requests, the same one every time.
    organisation = max(sorted(requests), key=requests.__getitem__, default="")
    scored_in = next((one.lane for one in alert.findings if one.score == alert.score), alert.lane)
    return Judged(evidence_vector(alert), detector, organisation, alert.propensity, alert.lane, scored_in, alert.score)


def practised(known: int) -> list[int]:
    """Choose among so many labels: a low-discrepancy sequence that goes over all of them evenly."""
    return [((known * PRACTISED + step) * _GOLDEN % 2**32) * known >> 32 for step in range(PRACTISED)]


class Lessons:
    """All labels so far. The newest verdict of an alert stands; each label counts once, by ``label_id``."""

    def __init__(self, *, organisation_labels: int = ORGANISATION_LABELS) -> None:
        """Begin with nothing; ``organisation_labels`` is the cap, a parameter so that its use can be measured."""
        self._cap = organisation_labels
        self._seen: set[str] = set()
        self._standing: dict[str, _Standing] = {}
        self._taught: Counter[str] = Counter()  # Labels that taught, by organisation.
        self._lessons: list[tuple[dict[str, float], bool, float]] = []  # Vector, confirmed, weight.
        self._head: SupervisedHead | None = None
        self.last_time = ""  # Of the last label that counted, RFC 3339.

    @property
    def version(self) -> int:
        """Count the labels: each one makes a version."""
        return len(self._seen)

    @property
    def trained_on(self) -> int:
        """Count the alerts that have a standing verdict to learn from."""
        return sum(each.verdict in JUDGED for each in self._standing.values())

    @property
    def positives(self) -> int:
        """Count the alerts that people confirmed."""
        return sum(each.verdict == CONFIRMED for each in self._standing.values())

    def standing(self) -> list[tuple[Judged, str]]:
        """Give the alerts that have a verdict, with it, in the order in which those were given."""
        return [(each.judged, each.verdict) for each in self._standing.values()]

    def add(self, label: LabelGiven, alert: Judged) -> bool:
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
            self._taught.clear()
            self._lessons.clear()
            for each in self._standing.values():
                self._learn(each)
        return True

    def parameters(self) -> dict[str, float]:
        """Give the head's state as plain numbers."""
        return self._trained().parameters()

    def precision(self) -> dict[str, float]:
        """Give the share of true positives among the judged alerts, by detector."""
        judged_alerts = Counter(each.judged.detector for each in self._standing.values() if each.verdict in JUDGED)
        confirmed = Counter(each.judged.detector for each in self._standing.values() if each.verdict == CONFIRMED)
        return {detector: confirmed[detector] / count for detector, count in judged_alerts.items()}

    def _learn(self, standing: _Standing) -> None:
        if standing.verdict not in JUDGED:
            return
        about = standing.judged
        if about.organisation:
            self._taught[about.organisation] += 1
            if self._taught[about.organisation] > self._cap:
                return
        weight = min(1.0 / about.propensity, MOST_WEIGHT)
        head, confirmed = self._trained(), standing.verdict == CONFIRMED
        head.learn_one(about.vector, confirmed=confirmed, weight=weight)
        self._lessons.append((about.vector, confirmed, weight))
        for place in practised(len(self._lessons)):
            vector, confirmed, weight = self._lessons[place]
            head.practise_one(vector, confirmed=confirmed, weight=weight)

    def _trained(self) -> SupervisedHead:
        # River's linear models bring scipy along: two seconds that a start without labels need not wait for.
        from detection.detectors.supervised import SupervisedHead  # noqa: PLC0415 - as told above

        if self._head is None:
            self._head = SupervisedHead()
        return self._head
