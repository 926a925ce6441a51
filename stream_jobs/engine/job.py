"""What a job tells the engine, and what the engine promises the job. A third job can be written from this module.

A job reads one or more source topics with the same number of partitions. For each partition number that a worker
holds, the engine makes one ``Task`` and gives it the records of that number from every source, in offset order for
each topic. The task keeps its state in rows of bytes under keys of bytes, which the engine writes to the job's state
topic and gives back after a restart. Between two checkpoints a task may hold outputs and changed rows in memory only:
the engine takes both and commits them with the offsets in one transaction. So a task never learns of a crash: it is
loaded with the rows of the last checkpoint, and sees the records after it again.

The life of a task, all of it in one thread: ``make_task``; where there was a checkpoint ``load_meta``, ``load`` and
``resume``; then ``process`` any number of times; at a checkpoint ``take``, ``dirty``, ``meta``, in this order, after
which both lists are empty; and at last nothing at all, for a task whose partition goes is dropped after a checkpoint.

What the task owes in return:
- **A function of the records.** The same records in the same order give the same rows, outputs and meta, however they
  are cut into batches and wherever checkpoints fall between them. So: integer sums, minima, maxima, bottom-k sets, the
  last value by offset; no clock, no randomness without a seed, no order of a set, no floating sum over several records.
- **Event time by record.** Close a pane at the record whose time passes its end, never once a batch. Where it matters
  between partitions, send the closed pane as an output behind all that belongs to it.
- **Bad records are rejections, bugs are exceptions.** A record that cannot be counted is named in ``Processed`` by its
  index, with a reason of the table and words that quote nothing. Anything raised ends the process, and the records
  come again: raise for what no record can cause.
- **Rows that a mixed fleet can read.** A release that changes rows reads the old and the new form and writes the old
  one; once every worker is of that release, a second step makes it write the new one. Rows of another form than the
  one to be written are dirty as soon as they are loaded, so the way back is open too. A row of an unknown form raises.
- **Keys.** Any bytes but the engine's own, which begin with a zero byte.

A job needs four things beside its task: topics in the table (its state topic compacted, as wide as its sources), a
``Job``, a ``__main__`` of five lines that calls ``process.run_process``, and a row in ``services.supervisor.parts``.
``tests/integration/engine/counting_worker.py`` is a whole one in a hundred lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from detection.columns import Int64Array
    from schemas.dead_letter import Reason
    from schemas.headers import Headers


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one source partition in offset order. All five sequences have the same length, at least 1."""

    topic: str
    partition: int
    offsets: Int64Array
    timestamps: Int64Array  # The broker's append time, ms since the epoch.
    keys: list[bytes | None]
    values: list[bytes | None]

    def __len__(self) -> int:
        """Give the number of records."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Output:
    """One record to send in the next transaction. Without a partition, the key's murmur2 decides."""

    topic: str
    value: bytes
    key: bytes | None = None
    partition: int | None = None
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record of the batch that is not counted: ``index`` is its place in the batch. It becomes a dead letter.

    ``detail`` is our own words, never a value of the record.
    """

    index: int
    reason: Reason
    detail: str
    schema: str


@dataclass(frozen=True, slots=True)
class Processed:
    """What a task made of a batch. ``event_time`` is the largest it accepted, in ms; None where it accepted none.

    ``pressing``: what the next checkpoint tells is waited for, as a closed hop is, and it may come early.
    """

    rejections: Sequence[Rejection] = ()
    event_time: int | None = None
    pressing: bool = False


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """For metrics only. Counts are since the task was made."""

    rows: int
    closed_ms: int | None = None  # Event time up to which the task has closed its panes.
    holder: str | None = None  # The source that holds the time back, where there are several.
    late: int = 0
    evictions: int = 0
    findings: Mapping[tuple[str, str], int] = field(default_factory=dict)  # By lane and detector.


class Task(Protocol):
    """State of one partition number. Called from one thread; every result is a function of the records alone."""

    def load_meta(self, raw: bytes) -> None:
        """Take the meta row of the last checkpoint; called before ``load``, and only where there is one."""

    def load(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Take the rows of the last checkpoint: the newest value of each key, deleted ones left out, in one call."""

    def resume(self, read: Mapping[str, int]) -> Mapping[str, int]:
        """Tell where to read on for each topic, at most ``read``: the offset after the last record given before.

        A task answers ``read`` itself, unless it keeps some of its input out of its rows and must see that again.
        """

    def process(self, batch: Batch) -> Processed:
        """Apply records. Offsets below the ones applied may come again after ``resume``; higher ones never skip."""

    def take(self) -> list[Output]:
        """Give the outputs since the last call, in the order in which they are to be sent.

        Readers see them when the transaction commits, in this order for each partition of a topic.
        """

    def dirty(self) -> tuple[list[bytes], Sequence[bytes | None]]:
        """Give keys and values of the rows changed since the last call; None deletes a row."""

    def meta(self) -> bytes:
        """Give what is no row. Called after ``dirty`` in the same checkpoint."""

    def status(self) -> TaskStatus:
        """Describe the task for metrics."""


@dataclass(frozen=True, slots=True)
class Source:
    """A source topic. Gaps in its offsets stop the job, unless ``gaps`` says why they are no loss.

    ``first`` topics are read to their end at assignment, before any record of the others: they say how to read those.
    """

    topic: str
    gaps: bool = False  # True where transactions write to it, or where the broker compacts it.
    first: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """The source topic whose silent partitions get control records, so that their time moves on."""

    topic: str
    idle_ms: int  # Wall time without an accepted record.
    encode: Callable[[int], bytes]  # Event time in ms to the control record's value; its key is null.


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the engine. The group shares out the first source's partitions; the others go along by number.

    ``others`` are the topics that it writes to, and those whose partition count it needs. ``make_task`` takes the
    partition number, and the partition counts of all topics named here.
    """

    name: str
    sources: tuple[Source, ...]
    others: tuple[str, ...]
    state_topic: str
    make_task: Callable[[int, Mapping[str, int]], Task]
    heartbeats: Heartbeats | None = None
