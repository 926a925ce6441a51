"""``stillwatch dead-letters list | show | redrive``: what could not be counted, why, and a second try.

Never the record's content: it may hold text, and the terminal's history is no place for that.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from services import bootstrap
from services.adapters.clock import SystemClock
from services.adapters.kafka.producer import KafkaProducer
from services.adapters.kafka.redrive import DeadLetterBox, NoSuchLetterError, chosen, redrive
from services.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schemas.dead_letter import DeadLetter
    from services.adapters.kafka.redrive import PlacedLetter, RedriveCounts

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_PLACE_PARTS: Final = 3

TopicName = Annotated[str, typer.Option("--topic", help="Only records of this topic.")]
ReasonName = Annotated[str, typer.Option("--reason", help="Only letters with this reason.")]
JobName = Annotated[str, typer.Option("--job", help="Only letters of this job.")]
Since = Annotated[str, typer.Option("--since", help="Only letters of the last 30m, 6h, 2d, ...")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    letters = typer.Typer(help="What could not be counted, why, and a second try.", no_args_is_help=True)
    letters.command("list")(list_letters)
    letters.command("show")(show_letter)
    letters.command("redrive")(redrive_letters)
    app.add_typer(letters, name="dead-letters")


def list_letters(
    *,
    topic: TopicName = "",
    reason: ReasonName = "",
    job: JobName = "",
    since: Since = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many; the counts are of all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List dead letters: where each record lies and why it was not counted."""
    with _box() as box:
        found = _select(box, topic, reason, job, since)
    counted = Counter((placed.letter.topic, placed.letter.reason) for placed in found)
    newest = found[-limit:]
    if as_json:
        told = [{"topic": name, "reason": why, "letters": number} for (name, why), number in sorted(counted.items())]
        _write({"total": len(found), "counts": told, "letters": [_plain(placed) for placed in newest]})
        return
    console = Console()
    if not found:
        console.print("No dead letters.")
        return
    table = Table("when", "place", "reason", "detail", "schema", "bytes", "job", box=None)
    for placed in newest:
        letter = placed.letter
        cells = (_moment(letter.time_unix_ms), _place(letter), letter.reason, letter.detail, letter.schema)
        table.add_row(*cells, f"{letter.size:,}", letter.job)
    console.print(table)
    for (name, why), number in sorted(counted.items()):
        console.print(f"{number:,} {why} of {name}", highlight=False)


def show_letter(
    place: Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET of the record, as `list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one record's letters, and what of the record may be shown: its size, whether it is still there."""
    name, partition, offset = _parse(place)
    with _box() as box:
        found = [
            placed
            for placed in box.letters()
            if (placed.letter.topic, placed.letter.partition, placed.letter.offset) == (name, partition, offset)
        ]
        if not found:
            raise NoSuchLetterError(f"no dead letter names {place}")
        original = box.original(found[-1].letter)
    about = {
        "still_there": original is not None,
        "has_key": original is not None and original.key is not None,
        "bytes": len(original.value or b"") if original is not None else None,
        "headers": sorted({header for header, _ in original.headers}) if original is not None else [],
    }
    if as_json:
        _write({"letters": [_plain(placed) for placed in found], "record": about})
        return
    table = Table(box=None, show_header=False)
    for key, value in (_plain(found[-1]) | {"letters": len(found)} | about).items():
        table.add_row(key, str(value))
    Console().print(table)


def redrive_letters(
    *,
    topic: TopicName = "",
    reason: ReasonName = "",
    job: JobName = "",
    since: Since = "",
    again: Annotated[bool, typer.Option("--again", help="Also what was sent again before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look what there is to send, and send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send the records that dead letters name again, once what refused them was mended.

    They go to the end of their partition, unchanged; a job that still cannot count one writes a new letter. Name a
    topic or a reason: everything at once is never what is meant.
    """
    if not (topic or reason):
        raise ConfigurationError("nothing says what to send again", "Name --topic, --reason, or both.")
    settings = bootstrap.load_settings()
    with _box() as box:
        found = _select(box, topic, reason, job, since)
        if not again:
            found = list(chosen(found, box.progress()))
        producer = None if dry_run else KafkaProducer(bootstrap.producer_base(settings))
        with _progress(len(found), quiet=as_json) as told:
            counts = redrive(box, found, producer, told)
    if as_json:
        _write(
            {
                "chosen": counts.chosen,
                "sent": 0 if dry_run else counts.sent,
                "could_be_sent": counts.sent,
                "gone": counts.gone,
                "by_reason": counts.by_reason,
                "dry_run": dry_run,
            }
        )
        return
    word = "would be sent" if dry_run else "sent"
    typer.echo(f"{counts.sent:,} {word} again, {counts.gone:,} are gone by their topic's retention")
    for why, number in sorted(counts.by_reason.items()):
        typer.echo(f"{number:,} {why}")


@contextmanager
def _box() -> Iterator[DeadLetterBox]:
    with closing(DeadLetterBox(bootstrap.consumer_base(bootstrap.load_settings()))) as box:
        yield box


def _select(box: DeadLetterBox, topic: str, reason: str, job: str, since: str) -> list[PlacedLetter]:
    start = SystemClock().now_ms() - _span(since) * 1000 if since else 0
    wanted = {"topic": topic, "reason": reason, "job": job}
    return [
        placed
        for placed in box.letters(start)
        if all(not value or getattr(placed.letter, name) == value for name, value in wanted.items())
    ]


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[RedriveCounts], None]]:
    columns = (TextColumn("sending again"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
        task = progress.add_task("", total=total)
        yield lambda counts: progress.update(task, completed=counts.chosen)


def _span(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in _UNITS:
        raise ConfigurationError(f"--since {text} is no span of time", "Say 30m, 6h or 2d.")
    return int(number) * _UNITS[unit]


def _parse(place: str) -> tuple[str, int, int]:
    parts = place.rsplit("/", 2)
    if len(parts) != _PLACE_PARTS or not (parts[1].isdecimal() and parts[2].isdecimal()):
        raise ConfigurationError(f"{place} is no place", "Say TOPIC/PARTITION/OFFSET, as `dead-letters list` shows it.")
    return parts[0], int(parts[1]), int(parts[2])


def _plain(placed: PlacedLetter) -> dict[str, Any]:
    return {**msgspec.to_builtins(placed.letter), "place": _place(placed.letter), "letter_offset": placed.offset}


def _place(letter: DeadLetter) -> str:
    return f"{letter.topic}/{letter.partition}/{letter.offset}"


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _write(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
