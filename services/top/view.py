"""Two moments, compared: rates, lags, delays and slow stages, as one value that a screen or JSON shows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from schemas.topics import POOL_CONTRIBUTIONS, REQUESTS
from services.top.reading import WATCHED

if TYPE_CHECKING:
    from services.top.reading import Moment, Page

# What a job reads that the brokers count for us, by its name in the metrics.
_LEADING: Final = {"accounts": REQUESTS.name, "pools": POOL_CONTRIBUTIONS.name}
_GOOD: Final = ("ready", "done", "")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One process. None is "it does not say". Rates are a second; ``cores`` and ``stages`` are of the loop's CPU."""

    name: str
    state: str
    restarts: int
    why: str  # It cannot be asked, or what is not ready.
    megabytes: float | None
    events: float | None
    lag: float | None
    rows: float | None
    pane_delay_seconds: float | None
    checkpoint_seconds: float | None  # Mean of those made between the moments, or of all where none was.
    loop_age_seconds: float | None
    dead_letters: float | None
    cores: float | None
    slowest: str  # Stage of the loop that took most CPU between the moments.
    slowest_share: float | None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One partition of a job."""

    job: str
    partition: int
    lag: float
    arriving: float | None  # Records a second that the broker took.
    rows: float | None
    pane_delay_seconds: float | None


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of findings, since the processes began."""

    raised: dict[str, float]  # Revisions, by severity.
    stored: float | None
    waiting: float | None
    budget: float | None
    suppressed: float | None
    event_to_alert_p50: float | None  # Upper ends of the histogram's buckets, in seconds.
    event_to_alert_p99: float | None
    outbox: float | None
    outbox_oldest_seconds: float | None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Everything. ``seconds`` lie between the moments; ``topics`` are records a second, None without a broker."""

    seconds: float
    jobs: tuple[Job, ...]
    places: tuple[Place, ...]
    alerts: Alerts
    topics: dict[str, float] | None


def compare(before: Moment, after: Moment) -> View:
    """Tell what happened from one moment to the other."""
    seconds = max(after.at - before.at, 1e-9)
    earlier = {page.target: page for page in before.pages}
    # A process that was started anew between them has counts that begin again.
    by_name = {page.target.name: page for page in before.pages}
    pages = [(earlier.get(page.target) or by_name.get(page.target.name), page) for page in after.pages]
    arriving = _arriving(before, after, seconds)
    places = [place for _, page in pages for place in _places(page, arriving)]
    return View(
        seconds=seconds,
        jobs=tuple(_job(old, new, seconds) for old, new in pages),
        places=tuple(sorted(places, key=lambda each: (-each.lag, each.job, each.partition))),
        alerts=_alerts([page for _, page in pages]),
        topics=None
        if arriving is None
        else {topic: sum(rate for (name, _), rate in arriving.items() if name == topic) for topic in WATCHED},
    )


def _arriving(before: Moment, after: Moment, seconds: float) -> dict[tuple[str, int], float] | None:
    if before.ends is None or after.ends is None:
        return None
    return {place: max(end - before.ends.get(place, end), 0) / seconds for place, end in after.ends.items()}


def _gained(old: Page | None, new: Page, name: str, **labels: str) -> float | None:
    """Give what a counter has gained; all of it where it began anew, None where it is not told."""
    now = new.total(name, **labels)
    if now is None or old is None:
        return None
    past = old.total(name, **labels)
    return now if past is None or past > now else now - past


def _job(old: Page | None, new: Page, seconds: float) -> Job:
    target = new.target
    events = _gained(old, new, "stillwatch_events_total")
    name, share, cores = _slowest(old, new, seconds)
    not_ready = sorted(labels["check"] for labels, value in new.each("stillwatch_check_ready") if not value)
    delays = [value for _, value in new.each("stillwatch_pane_delay_seconds")]
    return Job(
        name=target.name,
        state=target.state,
        restarts=target.restarts,
        why=new.why or (f"not ready: {', '.join(not_ready)}" if not_ready else ""),
        megabytes=new.megabytes,
        events=None if events is None else events / seconds,
        lag=new.total("stillwatch_consumer_lag"),
        rows=new.total("stillwatch_state_rows"),
        pane_delay_seconds=max(delays, default=None),
        checkpoint_seconds=_mean(old, new, "stillwatch_checkpoint_seconds"),
        loop_age_seconds=new.total("stillwatch_loop_age_seconds"),
        dead_letters=new.total("stillwatch_dead_letters_total"),
        cores=cores,
        slowest=name,
        slowest_share=share,
    )


def _slowest(old: Page | None, new: Page, seconds: float) -> tuple[str, float | None, float | None]:
    stages = {
        labels["stage"]: _gained(old, new, "stillwatch_stage_cpu_seconds_total", stage=labels["stage"]) or 0.0
        for labels, _ in new.each("stillwatch_stage_cpu_seconds_total")
    }
    spent = sum(stages.values())
    if not stages or old is None:
        return "", None, None
    if not spent:
        return "", None, 0.0
    name = max(stages, key=lambda each: stages[each])
    return name, stages[name] / spent, spent / seconds


def _mean(old: Page | None, new: Page, name: str) -> float | None:
    count, total = _gained(old, new, f"{name}_count"), _gained(old, new, f"{name}_sum")
    if not count or total is None:
        count, total = new.total(f"{name}_count"), new.total(f"{name}_sum")
    return total / count if count and total is not None else None


def _places(page: Page, arriving: dict[tuple[str, int], float] | None) -> list[Place]:
    found = []
    lags: dict[tuple[str, int], float] = {}
    for labels, value in page.each("stillwatch_consumer_lag"):
        key = labels["job"], int(labels["partition"])
        lags[key] = lags.get(key, 0.0) + value
    for (job, number), lag in lags.items():
        where = {"job": job, "partition": str(number)}
        found.append(
            Place(
                job=job,
                partition=number,
                lag=lag,
                arriving=None if arriving is None else arriving.get((_LEADING.get(job, ""), number)),
                rows=page.total("stillwatch_state_rows", **where),
                pane_delay_seconds=page.total("stillwatch_pane_delay_seconds", **where),
            )
        )
    # Of a job without partitions of its own there is nothing that its own line does not say.
    return [each for each in found if each.job in _LEADING]


def _alerts(pages: list[Page]) -> Alerts:
    def total(name: str, **labels: str) -> float | None:
        found = [value for page in pages if (value := page.total(name, **labels)) is not None]
        return sum(found) if found else None

    raised: dict[str, float] = {}
    for page in pages:
        for labels, value in page.each("stillwatch_alerts_total"):
            raised[labels["severity"]] = raised.get(labels["severity"], 0.0) + value
    return Alerts(
        raised=raised,
        stored=total("stillwatch_alerts_stored_total"),
        waiting=total("stillwatch_alerts_waiting"),
        budget=total("stillwatch_alert_budget"),
        suppressed=total("stillwatch_suppressed_total"),
        event_to_alert_p50=_quantile(pages, "stillwatch_event_to_alert_seconds", 0.5),
        event_to_alert_p99=_quantile(pages, "stillwatch_event_to_alert_seconds", 0.99),
        outbox=total("stillwatch_outbox_pending"),
        outbox_oldest_seconds=total("stillwatch_outbox_oldest_seconds"),
    )


def _quantile(pages: list[Page], name: str, share: float) -> float | None:
    buckets: dict[float, float] = {}
    for page in pages:
        for labels, value in page.each(f"{name}_bucket"):
            end = float(labels["le"])
            buckets[end] = buckets.get(end, 0.0) + value
    most = buckets.get(math.inf, 0.0)
    if not most:
        return None
    return min(end for end, value in buckets.items() if value >= share * most)


def healthy(job: Job) -> bool:
    """Tell whether nothing of a process asks for somebody."""
    return not job.why and job.state in _GOOD
