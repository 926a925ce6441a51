from __future__ import annotations

from services.telemetry.health import readiness
from services.telemetry.metrics import Metrics
from stream_jobs.engine.health import LAG_RECORDS, POLL_SECONDS, WorkerHealth
from stream_jobs.engine.job import TaskStatus
from stream_jobs.engine.stages import JobMetrics


def _sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_worker_is_ready_when_it_has_loaded_its_partitions_and_polls() -> None:
    seconds = [100.0]
    health = WorkerHealth(lambda: seconds[0])
    assert not readiness(health.checks())[0], "no assignment yet"
    health.assigned = ()
    assert readiness(health.checks())[0], "a worker beyond the last partition waits for work"
    health.recovering = (3,)
    assert not readiness(health.checks())[0]
    health.recovering = ()
    seconds[0] += POLL_SECONDS
    assert not readiness(health.checks())[0], "the loop stands still"
    health.polled = seconds[0]
    health.lag, health.holder = LAG_RECORDS, "accounts-2"
    ready, results = readiness(health.checks())
    assert not ready
    assert "accounts-2 holds the time back" in str(results["lag"])


def test_counts_of_a_partition_start_again_with_its_next_assignment() -> None:
    metrics = Metrics()
    job = JobMetrics(metrics, "accounts")
    for number, late in ((0, 5), (1, 2), (0, 7)):
        job.partition(
            number, TaskStatus(rows=3, closed_ms=9_000, late=late, findings={("account", "tail"): late}), 10_500
        )
    assert _sample(metrics, "stillwatch_late_events_total", job="accounts") == 9
    job.forget(0)
    job.partition(0, TaskStatus(rows=3, late=4), 10_500)
    assert _sample(metrics, "stillwatch_late_events_total", job="accounts") == 13
    assert _sample(metrics, "stillwatch_findings_total", lane="account", detector="tail") == 9
    assert _sample(metrics, "stillwatch_closed_hop_time_seconds", job="accounts", partition="1") == 9
    assert _sample(metrics, "stillwatch_pane_delay_seconds", job="accounts", partition="1") == 1.5


def test_the_holder_of_the_time_is_named_until_it_lets_go() -> None:
    metrics = Metrics()
    job = JobMetrics(metrics, "pools")
    job.holders(["accounts-1"])
    job.holders(["accounts-2"])
    assert _sample(metrics, "stillwatch_watermark_holder", job="pools", source="accounts-1") == 0
    assert _sample(metrics, "stillwatch_watermark_holder", job="pools", source="accounts-2") == 1
