"""Labels in, versions of the supervised head and of the bars out, on the compacted topic ``models``, stage ``shadow``.

The labels' log is small and kept for longer than the alerts that it speaks of, so the state is rebuilt from its start:
no table, no checkpoint. A version says how many labels it has seen, so a crash after publishing publishes the same
bytes again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from detection.ranking.lessons import Judged, LabelGiven, Lessons, judged
from schemas.headers import binary_headers
from schemas.label import Label
from schemas.model_version import SUPERVISED, ModelVersion, model_key
from schemas.topics import LABELS, MODELS
from services.telemetry.logs import get_logger
from stream_jobs.faust_host.alerts_view import AlertsView
from stream_jobs.faust_host.labels import SCHEMA, UNKNOWN_ALERT, read_label
from stream_jobs.faust_host.ports import Outgoing

if TYPE_CHECKING:
    from stream_jobs.faust_host.ports import Ports, Record
    from stream_jobs.learning.bars import BarsProposer

NAME: Final = "learning"
SOURCE: Final = "stillwatch/learning"
KEY: Final = model_key(SUPERVISED, "shadow")

_encoder = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(ModelVersion)


class LearningJob:
    """The job on its ports; see ``StreamJob``."""

    def __init__(self, ports: Ports, bars: BarsProposer) -> None:
        self._ports = ports
        self._bars = bars
        self._lessons = Lessons()
        self._alerts: AlertsView[Judged] = AlertsView(ports.log, judged)
        self._next: dict[int, int] = {}
        self._lost = 0

    async def open(self) -> None:
        """Learn the whole log anew; publish where the last process did not come to it."""
        self._lessons = Lessons()
        self._alerts = AlertsView(self._ports.log, judged)
        records, self._next = await self._ports.log.read(LABELS, {})
        for record in records:
            read = read_label(record)
            if isinstance(read[0], Label):
                alert = await self._alerts.find(read[0].alert_id, read[0].alert_revision)
                if alert is not None:
                    self._lessons.add(_given(read[0]), alert)
        published = await self._published()
        # Labels outlive the alerts they speak of. What can no longer be learned still counts as a version.
        self._lost = max(0, published - self._lessons.version)
        if self._lost:
            get_logger().warning("model.rebuilt_short", model=SUPERVISED, labels_lost=self._lost)
        if self._version > published:
            await self._publish()
        await self._bars.open()
        self._tell()

    async def handle(self, record: Record) -> None:
        """Learn a label that ``open`` has not met; a label that cannot be learned goes to the dead letters."""
        read = read_label(record)
        if not isinstance(read[0], Label):
            await self._ports.dead_letters.reject(record, read[0], str(read[1]), SCHEMA)
        else:
            await self._learn(record, read[0])
        self._ports.line.finish(record)

    async def tick(self) -> None:
        """Look at what stands open, and say where the bars should be."""
        await self._bars.look(self._lessons.standing())

    async def drain(self) -> None:
        """Nothing is held back."""

    @property
    def _version(self) -> int:
        return self._lessons.version + self._lost

    async def _learn(self, record: Record, label: Label) -> None:
        alert = await self._alerts.find(label.alert_id, label.alert_revision)
        if alert is None:
            await self._ports.dead_letters.reject(record, *UNKNOWN_ALERT, SCHEMA)
            return
        self._ports.metrics.counter("stillwatch_labels_total", verdict=label.verdict).inc()
        if record.offset >= self._next.get(record.partition, 0) and self._lessons.add(_given(label), alert):
            await self._publish()
            self._tell()

    async def _publish(self) -> None:
        version = ModelVersion(
            model=SUPERVISED,
            version=self._version,
            stage="shadow",
            trained_on=self._lessons.trained_on,
            positives=self._lessons.positives,
            created_at=self._lessons.last_time,
            parameters=self._lessons.parameters(),
        )
        await self._ports.outbox.send(
            [Outgoing(MODELS, KEY, _encoder.encode(version), binary_headers(version, SOURCE, 0))]
        )
        get_logger().info("model.published", model=SUPERVISED, version=version.version, positives=version.positives)

    async def _published(self) -> int:
        records, _ = await self._ports.log.read(MODELS, {})
        return max(
            (_decoder.decode(each.value).version for each in records if each.key == KEY and each.value), default=0
        )

    def _tell(self) -> None:
        self._ports.details |= {"labels": str(self._lessons.version)}
        for detector, share in self._lessons.precision().items():
            self._ports.metrics.gauge("stillwatch_label_precision", detector=detector).set(share)


def _given(label: Label) -> LabelGiven:
    return LabelGiven(label.label_id, label.alert_id, label.verdict, label.labelled_at)
