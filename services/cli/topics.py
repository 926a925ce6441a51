"""``stillwatch topics apply | diff | list``: the topics table against the cluster.

Exit codes: 0 done, or no difference; 1 the broker refused, or a partition count differs; 4 no broker answered;
6 ``diff`` found differences.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from schemas.topics import TOPICS
from services.adapters.kafka.topics import ClusterTopics
from services.bootstrap import consumer_base, load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.adapters.kafka.topics import Difference

DIFFERENT: Final = 6
_HOUR: Final = 3_600_000

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the broker.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    topics = typer.Typer(help="The topics table against the cluster.", no_args_is_help=True)
    topics.command("apply")(apply)
    topics.command("diff")(diff)
    topics.command("list")(list_topics)
    app.add_typer(topics, name="topics")


def apply(*, timeout: Timeout = 30.0, as_json: AsJson = False) -> None:
    """Create missing topics and mend their settings; refuse where a partition count differs."""
    changed = _cluster(timeout).apply()
    if as_json:
        _write_json(changed)
        return
    created = [each for each in changed if each.kind == "missing"]
    _show(changed)
    Console().print(f"{len(created)} created, {len(changed) - len(created)} settings mended.")


def diff(*, timeout: Timeout = 30.0, as_json: AsJson = False) -> None:
    """Show how the cluster differs from the table; exit code 6 where it does."""
    differences = _cluster(timeout).differences()
    if as_json:
        _write_json(differences)
    elif differences:
        _show(differences)
    else:
        Console().print(f"The cluster has all {len(TOPICS)} topics as the table says.")
    if differences:
        raise typer.Exit(DIFFERENT)


def list_topics(*, as_json: AsJson = False) -> None:
    """Show the table itself; needs no broker."""
    settings = load_settings()
    rows = [
        {
            "name": topic.name,
            "key": topic.key,
            "carries": topic.carries,
            "partitions": settings.partitions if topic.width == "wide" else 1,
            "config": topic.config(),
        }
        for topic in TOPICS
    ]
    if as_json:
        _write(rows)
        return
    table = Table("topic", "key", "carries", "partitions", "kept", box=None)
    for topic, row in zip(TOPICS, rows, strict=True):
        kept = topic.cleanup if topic.retention_ms < 0 else f"{topic.cleanup}, {topic.retention_ms // _HOUR} h"
        table.add_row(topic.name, topic.key, topic.carries, str(row["partitions"]), kept)
    Console().print(table)


def _cluster(timeout: float) -> ClusterTopics:
    settings = load_settings()
    return ClusterTopics(
        consumer_base(settings), TOPICS, settings.partitions, settings.replication_factor, timeout=timeout
    )


def _show(differences: Sequence[Difference]) -> None:
    if not differences:
        return
    table = Table("topic", "what", "wanted", "found", box=None)
    for each in differences:
        table.add_row(each.topic, each.setting or each.kind, each.wanted, each.found)
    Console().print(table)


def _write_json(differences: Sequence[Difference]) -> None:
    _write([asdict(each) for each in differences])


def _write(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
