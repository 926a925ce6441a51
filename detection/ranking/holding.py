"""What the bars hold back: incidents that stand open, are not raised, and can be at any later hop."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from detection.ranking.bars import HELD_SHARE, LANES, Bars, exempt
from detection.ranking.exploring import as_draw, is_subject_drawn
from detection.ranking.proposing import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detection.incidents.incident import Incident
    from detection.outcomes import Finding

_BARRED: Final = frozenset(LANES)


def is_held(incident: Incident, bars: Bars) -> bool:
    """Say whether the bars keep an incident from being raised. One that is raised is held no more."""
    return not incident.revision and not bars.clears(incident.peaks) and not exempt(incident.severity)


def held_by_lane(incidents: Iterable[Incident], bars: Bars) -> dict[str, int]:
    """Count what is held."""
    held = Counter(one.lane for one in incidents if is_held(one, bars))
    return {lane: held[lane] for lane in LANES}


def draw_of(incident: Incident) -> Finding | None:
    """Give what is shown of a held incident where it is among those that are drawn."""
    strongest = incident.strongest
    if strongest is None or not is_subject_drawn(strongest.subject, HELD_SHARE):
        return None
    members = [incident.members[account] for account in sorted(incident.members)]
    return as_draw(msgspec.structs.replace(strongest, members=members), HELD_SHARE)


def standing(incidents: Iterable[Incident]) -> list[Standing]:
    """Give all that stand open, raised or not, eldest first."""
    found = [
        Standing(
            lane=one.lane,
            ratio=round(max(one.peaks.values(), default=0.0), 4),
            free=bool(one.peaks.keys() - _BARRED) or exempt(one.severity),
            hop=one.founded_hop,
            alert_id=one.alert_id,
        )
        for one in incidents
        if one.founded_hop >= 0
    ]
    return sorted(found, key=lambda one: (one.hop, one.alert_id))
