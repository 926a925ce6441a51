"""The ranker: gives incidents their place. Its memory is the scores of the last incidents, and the head in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from detection.features.evidence import vector_of
from detection.ranking.priority import HISTORY, priority_of, rank_of, weight_of

if TYPE_CHECKING:
    from detection.incidents.incident import Incident
    from detection.outcomes import Alert
    from detection.ranking.head import TrainedHead


class Ranker:
    """``history`` holds the scores over their thresholds of the last incidents that were raised, oldest first."""

    def __init__(
        self, verified_share: float, history: list[float] | None = None, head: TrainedHead | None = None
    ) -> None:
        self._verified_share = verified_share  # From which on an incident asks instead of accusing.
        self.history = history or []
        self.head = head

    def order(self, incident: Incident) -> tuple[float, float, str]:
        """Give the key by which incidents wait for the budget: the highest priority first, of equals the score's."""
        return -self._place(incident)[1], -incident.ratio, incident.alert_id

    def told(self, alert: Alert, incident: Incident) -> Alert:
        """Give a revision its place; the first one is remembered for the ranks of later incidents."""
        rank, priority = self._place(incident)
        if alert.revision == 1:
            self.history = [*self.history, round(incident.ratio, 4)][-HISTORY:]
        model = self.head.name if self.head is not None and weight_of(self.head) else ""
        return msgspec.structs.replace(alert, rank=rank, priority=priority, model=model)

    def _place(self, incident: Incident) -> tuple[float, float]:
        strongest = incident.strongest
        rank = rank_of(incident.ratio, self.history)
        if strongest is None or not weight_of(self.head):
            return rank, rank
        vector = vector_of(
            strongest.evidence,
            incident.lane,
            incident.kind(self._verified_share),
            strongest.score,
            incident.confidence,
            incident.customers,
        )
        return rank, priority_of(rank, self.head, vector)
