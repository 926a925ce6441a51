"""What two moments tell together, and what the screen makes of it."""

from __future__ import annotations

import io
import math
from typing import Any

import msgspec
import pytest
from prometheus_client import generate_latest
from rich.console import Console

from services.cli.top import AddressError, running, target_of
from services.errors import NotRunningError
from services.telemetry.metrics import Metrics
from services.top import screen
from services.top.reading import Moment, Page, Target, parse, resident_megabytes
from services.top.view import View, compare, healthy

ACCOUNTS = Target("accounts", "127.0.0.1", 9101, state="ready")
API = Target("api", "127.0.0.1", 9102, state="ready")
ENDS = {("requests", 0): 1_000, ("requests", 1): 500, ("alerts", 0): 3}


def accounts_metrics() -> Metrics:
    metrics = Metrics()
    metrics.counter("stillwatch_events_total", job="accounts").inc(1_000)
    for number, (lag, rows, delay) in enumerate([(10, 700, 120.0), (30, 800, 300.0)]):
        where = {"job": "accounts", "partition": str(number)}
        metrics.gauge("stillwatch_consumer_lag", topic="requests", **where).set(lag)
        metrics.gauge("stillwatch_consumer_lag", topic="account-attributes", **where).set(1)
        metrics.gauge("stillwatch_state_rows", **where).set(rows)
        metrics.gauge("stillwatch_pane_delay_seconds", **where).set(delay)
    metrics.histogram("stillwatch_checkpoint_seconds", job="accounts").observe(4.0)
    for stage, seconds in (("fetch", 1.0), ("process", 2.0)):
        metrics.counter("stillwatch_stage_cpu_seconds_total", job="accounts", stage=stage).inc(seconds)
    metrics.gauge("stillwatch_loop_age_seconds", job="accounts").set(0.01)
    return metrics


def page(target: Target, metrics: Metrics, **other: Any) -> Page:
    return Page(target, parse(generate_latest(metrics.registry).decode()), **other)


def two_seconds(change: Any = None, **other: Any) -> View:
    metrics = accounts_metrics()
    before = Moment(10.0, (page(ACCOUNTS, metrics),), ENDS)
    if change is not None:
        change(metrics)
    after = Moment(12.0, (page(ACCOUNTS, metrics, **other),), {**ENDS, ("requests", 1): 600})
    return compare(before, after)


def grow(metrics: Metrics) -> None:
    metrics.counter("stillwatch_events_total", job="accounts").inc(300)
    metrics.histogram("stillwatch_checkpoint_seconds", job="accounts").observe(0.2)
    metrics.histogram("stillwatch_checkpoint_seconds", job="accounts").observe(0.4)
    metrics.counter("stillwatch_stage_cpu_seconds_total", job="accounts", stage="process").inc(0.3)
    metrics.counter("stillwatch_stage_cpu_seconds_total", job="accounts", stage="rows").inc(0.1)


def test_rates_are_what_was_gained_between_the_moments() -> None:
    (job,) = two_seconds(grow, megabytes=170.0).jobs
    # 300 records and 0.4 s of CPU in two seconds; two checkpoints of 0.6 s together.
    assert job.events == pytest.approx(150)
    assert job.cores == pytest.approx(0.2)
    assert (job.slowest, job.slowest_share) == ("process", pytest.approx(0.75))
    assert job.checkpoint_seconds == pytest.approx(0.3)
    assert (job.lag, job.rows, job.pane_delay_seconds, job.megabytes) == (42, 1_500, 300.0, 170.0)
    assert healthy(job)


def test_where_nothing_happened_rates_are_zero_and_the_checkpoint_is_the_mean_of_all() -> None:
    (job,) = two_seconds().jobs
    assert (job.events, job.cores, job.slowest, job.checkpoint_seconds) == (0, 0, "", 4.0)


def test_partitions_come_by_lag_with_what_the_broker_takes_for_them() -> None:
    found = two_seconds()
    assert [(each.partition, each.lag, each.arriving, each.rows) for each in found.places] == [
        (1, 31, 50.0, 800),
        (0, 11, 0.0, 700),
    ]
    assert found.topics == {"requests": 50.0, "pool-contributions": 0, "findings": 0, "alerts": 0.0}


def test_a_process_that_began_anew_has_gained_what_it_counts_now() -> None:
    old, new = accounts_metrics(), Metrics()
    new.counter("stillwatch_events_total", job="accounts").inc(50)
    again = Target("accounts", "127.0.0.1", 9101, pid=7, state="ready", restarts=1)
    found = compare(Moment(0.0, (page(ACCOUNTS, old),), None), Moment(5.0, (page(again, new),), None))
    assert found.jobs[0].events == pytest.approx(10)
    assert found.topics is None
    assert found.jobs[0].restarts == 1


def test_a_process_that_was_not_there_before_has_no_rate_yet() -> None:
    found = compare(Moment(0.0, (), ENDS), Moment(1.0, (page(ACCOUNTS, accounts_metrics()),), ENDS))
    assert (found.jobs[0].events, found.jobs[0].lag) == (None, 42)


def test_what_is_not_ready_and_what_does_not_answer_is_said() -> None:
    metrics = accounts_metrics()
    metrics.gauge("stillwatch_check_ready", check="lag").set(0)
    metrics.gauge("stillwatch_check_ready", check="assigned").set(1)
    gone = Page(API, why="/metrics does not answer (ConnectionRefusedError)")
    found = compare(
        Moment(0.0, (page(ACCOUNTS, metrics), gone), ENDS), Moment(1.0, (page(ACCOUNTS, metrics), gone), ENDS)
    )
    assert [job.why for job in found.jobs] == ["not ready: lag", gone.why]
    assert not any(map(healthy, found.jobs))
    assert found.jobs[1].lag is None


def test_alerts_are_added_up_over_the_processes() -> None:
    incidents, sink = Metrics(), Metrics()
    for severity, many in (("high", 3), ("low", 2)):
        incidents.counter("stillwatch_alerts_total", detector="d", severity=severity).inc(many)
    incidents.gauge("stillwatch_alert_budget").set(20)
    incidents.gauge("stillwatch_alerts_waiting").set(4)
    sink.counter("stillwatch_alerts_stored_total", outcome="new").inc(5)
    for seconds in (0.2, 0.3, 4_000.0):
        sink.histogram("stillwatch_event_to_alert_seconds").observe(seconds)
    moment = Moment(1.0, (page(API, incidents), page(ACCOUNTS, sink)), None)
    told = compare(moment, moment).alerts
    assert told.raised == {"high": 3, "low": 2}
    assert (told.stored, told.waiting, told.budget) == (5, 4, 20)
    # Half of three lie below half a second; the last beyond the last bucket.
    assert (told.event_to_alert_p50, told.event_to_alert_p99) == (0.5, math.inf)


def drawn(found: View, **options: Any) -> str:
    out = io.StringIO()
    Console(width=160, file=out).print(screen.draw(found, **options))
    return out.getvalue()


def test_the_screen_shows_processes_partitions_and_alerts() -> None:
    text = drawn(two_seconds(grow, megabytes=170.0), pane_seconds=1_830.0)
    for word in ("1 of 1 well", "requests 50/s", "accounts", "150", "1,500", "170", "process 75%", "300 ms", "5 min"):
        assert word in text, f"{word}\n{text}"
    assert "accounts 1" in text
    assert "none raised" in text


def test_a_low_screen_says_how_many_partitions_it_leaves_out() -> None:
    text = drawn(two_seconds(), lines=5)
    assert "with no more lag" not in text, "four are always shown"
    many = two_seconds()
    places = tuple(msgspec.structs.replace(many.places[0], partition=number) for number in range(20))
    assert "and 16 with no more lag" in drawn(msgspec.structs.replace(many, places=places), lines=5)


def test_json_has_every_field_and_no_number_that_json_cannot_hold() -> None:
    told = msgspec.json.decode(msgspec.json.encode(two_seconds(grow)))
    assert set(told) == {"seconds", "jobs", "places", "alerts", "topics"}
    assert told["jobs"][0]["slowest"] == "process"


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "-"), (0.004, "4 ms"), (1.21, "1.2 s"), (300.0, "5 min"), (7_200.0, "2 h"), (900_000.0, "10 days")],
)
def test_times_are_written_as_people_say_them(value: float | None, written: str) -> None:
    assert screen.seconds(value) == written


def test_addresses_are_read_or_refused() -> None:
    assert target_of("127.0.0.1:9101") == Target("127.0.0.1:9101", "127.0.0.1", 9101)
    assert target_of("pools=host:80") == Target("pools", "host", 80)
    for wrong in ("nothing", "host:", "host:port", ":5", "host:0", "host:70000"):
        with pytest.raises(AddressError):
            target_of(wrong)


def test_where_nothing_runs_the_error_says_what_to_do(tmp_path: Any) -> None:
    with pytest.raises(NotRunningError, match="does not run") as caught:
        running(tmp_path)
    assert caught.value.exit_code == 4
    assert "--metrics" in caught.value.hint


def test_memory_that_cannot_be_seen_is_not_told() -> None:
    assert resident_megabytes(None) is None
    assert resident_megabytes(2**22 + 1) is None
