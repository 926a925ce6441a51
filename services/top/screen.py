"""A view as a terminal shows it: what needs somebody is red or yellow, what says nothing is a dash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from services.top.view import healthy

if TYPE_CHECKING:
    from rich.console import RenderableType

    from services.top.view import Job, View

_DASH: Final = "-"
_BEHIND: Final = 10_000.0  # Records; as /readyz of the jobs has it.
_SLOW_SECONDS: Final = 10.0  # A loop or a checkpoint of that age is no good sign.
_SEVERITIES: Final = ("critical", "high", "medium", "low")


def draw(view: View, *, lines: int | None = None, pane_seconds: float | None = None) -> RenderableType:
    """Give the screen; ``lines`` is its height, ``pane_seconds`` what a pane's delay may be while traffic is live."""
    head = _head(view)
    jobs = _jobs(view, pane_seconds)
    left = None if lines is None else max(lines - len(view.jobs) - 12, 4)
    return Group(head, jobs, _places(view, left, pane_seconds), _alerts(view))


def _head(view: View) -> Text:
    unwell = [job for job in view.jobs if not healthy(job)]
    text = Text("stillwatch top  ", style="bold")
    text.append(f"{len(view.jobs) - len(unwell)} of {len(view.jobs)} well", "green" if not unwell else "red")
    if view.topics is None:
        text.append("   no broker answers", "red")
    else:
        text.append("   " + "  ".join(f"{name} {rate(value)}/s" for name, value in view.topics.items()))
    text.append(f"   over {view.seconds:.1f} s", "dim")
    return text


def _jobs(view: View, pane_seconds: float | None) -> Table:
    table = _table(
        "process", "state", "events/s", "lag", "rows", "MB", "cores", "slowest", "pane", "checkpoint", "loop"
    )
    table.columns[1].justify = table.columns[7].justify = "left"
    table.add_column("dead", justify="right")
    for job in view.jobs:
        table.add_row(
            job.name,
            _state(job),
            rate(job.events),
            _high(count(job.lag), job.lag, _BEHIND),
            count(job.rows),
            count(job.megabytes),
            _DASH if job.cores is None else f"{job.cores:.2f}",
            f"{job.slowest} {job.slowest_share:.0%}" if job.slowest_share is not None else _DASH,
            _high(seconds(job.pane_delay_seconds), job.pane_delay_seconds, pane_seconds),
            _high(seconds(job.checkpoint_seconds), job.checkpoint_seconds, _SLOW_SECONDS),
            _high(seconds(job.loop_age_seconds), job.loop_age_seconds, _SLOW_SECONDS),
            _high(count(job.dead_letters), job.dead_letters, 1.0),
        )
    return table


def _state(job: Job) -> Text:
    text = Text(job.why or job.state or "answers", style="green" if healthy(job) else "red")
    if job.restarts:
        text.append(f" ({job.restarts} restarts)", "yellow")
    return text


def _places(view: View, most: int | None, pane_seconds: float | None) -> Table:
    table = _table("partition", "lag", "arriving/s", "rows", "pane")
    shown = view.places[:most]
    for place in shown:
        table.add_row(
            f"{place.job} {place.partition}",
            _high(count(place.lag), place.lag, _BEHIND),
            rate(place.arriving),
            count(place.rows),
            _high(seconds(place.pane_delay_seconds), place.pane_delay_seconds, pane_seconds),
        )
    if len(shown) < len(view.places):
        table.add_row(f"and {len(view.places) - len(shown)} with no more lag", style="dim")
    return table


def _alerts(view: View) -> Text:
    told = view.alerts
    names = [*_SEVERITIES, *sorted(set(told.raised) - set(_SEVERITIES))]
    raised = ", ".join(f"{count(told.raised[name])} {name}" for name in names if told.raised.get(name))
    text = Text("alerts  ", style="bold")
    said = (
        f"{raised or 'none'} raised, {count(told.stored)} stored",
        f"{count(told.waiting)} wait for the budget of {count(told.budget)} an hour",
        f"\n        event to row p50 {_bucket(told.event_to_alert_p50)}, p99 {_bucket(told.event_to_alert_p99)}",
        f"outbox {count(told.outbox)}, oldest {seconds(told.outbox_oldest_seconds)}",
    )
    text.append("   ".join(said), "not bold")
    return text


def _table(*names: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(names):
        table.add_column(name, justify="left" if not place else "right", no_wrap=True)
    return table


def _high(text: str, value: float | None, limit: float | None) -> Text:
    return Text(text, style="yellow" if limit is not None and value is not None and value >= limit else "")


def _bucket(value: float | None) -> str:
    return _DASH if value is None else "over an hour" if value == float("inf") else f"below {seconds(value)}"


def count(value: float | None) -> str:
    """Write a number of things."""
    return _DASH if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Write a number a second: a digit behind the point where it is small."""
    if value is None:
        return _DASH
    return f"{value:,.0f}" if value >= 10 or not value else f"{value:.1f}"  # noqa: PLR2004 - digits


def seconds(value: float | None) -> str:
    """Write a time as people say it."""
    if value is None:
        return _DASH
    if value < 1:
        return f"{1000 * value:.0f} ms"
    if value < 100:  # noqa: PLR2004 - from there on, minutes read better
        return f"{value:.1f} s"
    minutes, hours, days = value / 60, value / 3600, value / 86_400
    if minutes < 100:  # noqa: PLR2004 - as above
        return f"{minutes:.0f} min"
    return f"{hours:.0f} h" if hours < 100 else f"{days:.0f} days"  # noqa: PLR2004 - as above
