"""CPU time by stage of the loop, and the metrics of one worker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from services.telemetry.metrics import Metrics
    from stream_jobs.engine.job import TaskStatus

Stage = Literal["fetch", "process", "outputs", "rows", "commit", "other"]
STAGES: Final[tuple[Stage, ...]] = ("fetch", "process", "outputs", "rows", "commit", "other")
_CLAMPED: Final = ("time_in_future", "time_too_old")


class StageTimer:
    """Splits this thread's CPU time: each ``lap`` books the time since the one before to a stage."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        self._last = time.thread_time()

    def lap(self, stage: Stage) -> None:
        """Book the time since the last lap."""
        now = time.thread_time()
        self.seconds[stage] += now - self._last
        self._last = now


class JobMetrics:
    """The engine's rows of the metrics table, with this job's name on them. Counters take differences."""

    def __init__(self, metrics: Metrics, job: str) -> None:
        self._metrics = metrics
        self._job = job
        self._booked: dict[tuple[str, ...], float] = {}
        self._holders: set[str] = set()

    def applied(self, events: int) -> None:
        """Count records."""
        self._metrics.counter("stillwatch_events_total", job=self._job).inc(events)

    def dead_letter(self, reason: str) -> None:
        """Count a record that went to the dead letters, and what the clamp of event times refused by itself."""
        self._metrics.counter("stillwatch_dead_letters_total", job=self._job, reason=reason).inc()
        if reason in _CLAMPED:
            self._metrics.counter("stillwatch_clamped_events_total", job=self._job).inc()

    def moved(self, kind: Literal["assigned", "revoked"], partitions: int, seconds: float) -> None:
        """Count a change of the assignment, and how long its work took."""
        self._metrics.counter("stillwatch_rebalances_total", job=self._job, kind=kind).inc()
        if kind == "assigned" and partitions:
            self._metrics.histogram("stillwatch_recovery_seconds", job=self._job).observe(seconds)

    def loop_age_by(self, age: Callable[[], float]) -> None:
        """Ask this for the loop's age at each scrape: a loop that stands still tells nothing by itself."""
        self._metrics.gauge("stillwatch_loop_age_seconds", job=self._job).set_function(age)

    def checkpoint(self, seconds: float, rows: int, stages: dict[Stage, float]) -> None:
        """Book one checkpoint and the CPU time so far."""
        self._metrics.histogram("stillwatch_checkpoint_seconds", job=self._job).observe(seconds)
        self._metrics.counter("stillwatch_checkpoint_rows_total", job=self._job).inc(rows)
        for stage, total in stages.items():
            self._raise("stillwatch_stage_cpu_seconds_total", total, job=self._job, stage=stage)

    def partition(self, number: int, status: TaskStatus, now_ms: int) -> None:
        """Tell how far one partition is. Its counts start anew with each assignment, see ``forget``."""
        label = str(number)
        self._metrics.gauge("stillwatch_state_rows", job=self._job, partition=label).set(status.rows)
        if status.closed_ms is not None:
            self._metrics.gauge("stillwatch_closed_hop_time_seconds", job=self._job, partition=label).set(
                status.closed_ms / 1000
            )
            delay = (now_ms - status.closed_ms) / 1000
            self._metrics.gauge("stillwatch_pane_delay_seconds", job=self._job, partition=label).set(delay)
        self._raise("stillwatch_late_events_total", status.late, own=label, job=self._job)
        self._raise("stillwatch_state_evictions_total", status.evictions, own=label, job=self._job)
        for (lane, detector), count in status.findings.items():
            self._raise("stillwatch_findings_total", count, own=label, lane=lane, detector=detector)

    def lag(self, topic: str, number: int, records: int) -> None:
        """Tell how many records wait."""
        self._metrics.gauge("stillwatch_consumer_lag", job=self._job, topic=topic, partition=str(number)).set(records)

    def forget(self, number: int) -> None:
        """Start a partition's counts at zero again."""
        for key in [key for key in self._booked if key[1] == str(number)]:
            del self._booked[key]

    def holders(self, sources: Collection[str]) -> None:
        """Name the sources that hold a partition's time back, and those that do no more."""
        for source in self._holders | set(sources):
            self._metrics.gauge("stillwatch_watermark_holder", job=self._job, source=source).set(source in sources)
        self._holders = set(sources)

    def _raise(self, name: str, total: float, own: str = "", **labels: str) -> None:
        key = (name, own, *labels.values())
        step = total - self._booked.get(key, 0.0)
        if step > 0:
            self._metrics.counter(name, **labels).inc(step)
        self._booked[key] = total
