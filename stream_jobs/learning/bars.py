"""Bars as they should stand, from what stands open and from verdicts: on the topic ``models``, stage ``shadow``.

What stands open is in the incidents job's own state, which this reads and never writes. A version is published where
the bars, or the drifts of the last week, are others than in the one before, so a restart alone publishes nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from detection.ids import rfc3339
from detection.ranking.bars import LANES, LEAST_BAR
from detection.ranking.drifting import DriftWatch
from detection.ranking.proposing import WINDOW_HOURS, judgements, propose
from schemas.headers import binary_headers
from schemas.model_version import BARS, ModelVersion, model_key
from schemas.topics import MODELS
from services.telemetry.logs import get_logger
from stream_jobs.faust_host.ports import Outgoing
from stream_jobs.incidents.state import StateStore, UnreadableStateError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from detection.config import DetectionConfig
    from detection.incidents.step import IncidentsStep
    from detection.ranking.lessons import Judged
    from detection.ranking.proposing import Budget
    from services.adapters.clock import Clock
    from stream_jobs.faust_host.ports import Ports

KEY: Final = model_key(BARS, "shadow")
LOOK_SECONDS: Final = 60.0  # A hop is fifteen minutes; verdicts come one by one.
WINDOW: Final = 4  # Records that are read of the state at first: the newest of each slot, most of the time.
_DRIFT: Final = ("drift", "drift_from", "drift_to")

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(ModelVersion)


class BarsProposer:
    """Looks at the state now and then. ``new_step`` makes the incidents job's step; ``source`` names the sender."""

    def __init__(
        self,
        ports: Ports,
        clock: Clock,
        new_step: Callable[[], IncidentsStep],
        config: DetectionConfig,
        budget: Budget,
        source: str,
    ) -> None:
        self._ports = ports
        self._clock = clock
        self._new_step = new_step
        self._config = config
        self._budget = budget
        self._source = source
        self._due = clock.monotonic()
        self._drift = DriftWatch()
        self._last: ModelVersion | None = None

    async def open(self) -> None:
        """Go on behind the newest version; what stands open is looked at anew."""
        self._drift = DriftWatch()
        self._last = None
        self._due = self._clock.monotonic()
        records, _ = await self._ports.log.read(MODELS, {})
        for record in records:
            if record.key == KEY and record.value:
                self._last = _decoder.decode(record.value)

    async def look(self, judged: Sequence[tuple[Judged, str]]) -> None:
        """Propose, where it is time; ``judged`` are the alerts that have a verdict."""
        if self._clock.monotonic() < self._due:
            return
        self._due = self._clock.monotonic() + LOOK_SECONDS
        step = self._new_step()
        try:
            # A store of its own each time: which slot is written next is the incidents job's to say.
            saved = await StateStore(self._ports.outbox, self._ports.log).load(WINDOW)
            if saved is None:
                return
            step.load(saved.blob)
        except (UnreadableStateError, ValueError) as error:
            get_logger().warning("bars.state_unreadable", error=type(error).__name__)
            return
        if step.closed_hop >= 0:
            await self._propose(step, judged)

    async def _propose(self, step: IncidentsStep, judged: Sequence[tuple[Judged, str]]) -> None:
        hop, hop_ms = step.closed_hop, self._config.clocking.hop_ms
        told = judgements(judged, self._config)
        found = propose(step.standing, told, self._budget, hop, hop_ms)
        found |= self._drifts(step, hop, hop_ms)
        for lane in LANES:
            self._ports.metrics.gauge("stillwatch_bar", lane=lane, stage="shadow").set(found[f"bar.{lane}"])
        if _gist(found) == _gist({} if self._last is None else self._last.parameters):
            return
        version = ModelVersion(
            model=BARS,
            version=1 if self._last is None else self._last.version + 1,
            stage="shadow",
            trained_on=len(told),
            positives=sum(each.confirmed for each in told),
            created_at=rfc3339((hop + 1) * hop_ms),
            parameters=found,
        )
        await self._ports.outbox.send(
            [Outgoing(MODELS, KEY, _encoder.encode(version), binary_headers(version, self._source, 0))]
        )
        self._last = version
        get_logger().info("model.published", model=BARS, version=version.version, positives=version.positives)

    def _drifts(self, step: IncidentsStep, hop: int, hop_ms: int) -> dict[str, float]:
        """Give the newest drift of each lane within the window: when its hop ended, and the means."""
        known = {} if self._last is None else self._last.parameters
        oldest = (hop + 1) * hop_ms / 1000 - WINDOW_HOURS * 3600
        found = {
            f"{name}.{lane}": known[f"{name}.{lane}"]
            for lane in LANES
            if f"drift.{lane}" in known and known[f"drift.{lane}"] > oldest
            for name in _DRIFT
        }
        for shift in self._drift.watch(step.standing, hop):
            ended = (shift.hop + 1) * hop_ms / 1000
            if ended <= found.get(f"drift.{shift.lane}", 0.0):
                continue  # Told before the restart.
            found |= {
                f"drift.{shift.lane}": ended,
                f"drift_from.{shift.lane}": shift.before,
                f"drift_to.{shift.lane}": shift.after,
            }
            self._ports.metrics.counter("stillwatch_drifts_total", lane=shift.lane).inc()
            since = datetime.fromtimestamp(ended, UTC).isoformat()
            get_logger().warning("bars.drift", lane=shift.lane, before=shift.before, after=shift.after, since=since)
        return found


def _gist(parameters: dict[str, float]) -> dict[str, float]:
    """Give what makes a version worth publishing: a bar that is not 1, a drift."""
    return {
        name: value
        for name, value in parameters.items()
        if name.startswith("drift.") or (name.startswith("bar.") and value > LEAST_BAR)
    }
