"""Tables of ``docs/labels.md``, from a result that is committed beside it, and the same on a terminal."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING, Final

import msgspec

from services.evaluation.teaching.measuring import LabelsResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from services.evaluation.teaching.measuring import LabelRow

Rows = list[tuple[str, ...]]
LABEL_HEAD: Final = (
    "labels",
    "wrong",
    "precision",
    "by world",
    "recall",
    "by world",
    "precision, severity first",
    "campaigns pushed out",
    "pulled in",
)
SEED_HEAD: Final = ("world left out", "labels", "precision", "recall", "confirmed labels", "say of the head")


def read_result(path: Path) -> LabelsResult:
    """Read a committed result; raises msgspec.DecodeError where it is none."""
    return msgspec.json.decode(path.read_bytes(), type=LabelsResult)


def run_rows(result: LabelsResult) -> Rows:
    """Give what was run."""
    return [
        ("worlds left out in turn", ", ".join(map(str, result.seeds))),
        ("worlds that only teach", ", ".join(map(str, result.tuned_on))),
        ("honest accounts besides the crowds", str(result.honest)),
        ("days, of which lead days", f"{result.days}, {result.lead_days}"),
        ("thresholds of pools and accounts", f"{result.pool_threshold}, {result.account_threshold}"),
        ("alerts a world, of which guilty", f"{result.alerts_a_world:.0f}, {result.guilty_a_world:.0f}"),
        ("alerts an analyst sees a day", str(result.budget)),
        ("orders of the worlds that teach", str(result.draws)),
        ("references", result.references),
        ("configuration", result.config_version),
    ]


def label_rows(result: LabelsResult) -> Rows:
    """Give the mean and the range over worlds for each number of labels and share of wrong ones."""
    rows: Rows = []
    for labels, wrong in dict.fromkeys((row.labels, row.wrong) for row in result.rows):
        found = [row for row in result.rows if (row.labels, row.wrong) == (labels, wrong)]
        precision, precisions = _worlds(found, lambda row: row.by_priority.precision)
        recall, recalls = _worlds(found, lambda row: row.by_priority.recall)
        queue, _ = _worlds(found, lambda row: row.by_severity.precision)
        trials = len(found)
        rows.append(
            (
                str(labels),
                f"{wrong:.0%}",
                precision,
                precisions,
                recall,
                recalls,
                queue,
                f"{sum(row.pushed_out for row in found) / trials:.2f}",
                f"{sum(row.pulled_in for row in found) / trials:.2f}",
            )
        )
    return rows


def seed_rows(result: LabelsResult) -> Rows:
    """Give each world's figures with right labels, means over the orders of the others."""
    rows: Rows = []
    for seed, labels in dict.fromkeys((row.seed, row.labels) for row in result.rows):
        found = [row for row in result.rows if (row.seed, row.labels, row.wrong) == (seed, labels, 0.0)]
        rows.append(
            (
                str(seed),
                str(labels),
                f"{mean(row.by_priority.precision for row in found):.1%}",
                f"{mean(row.by_priority.recall for row in found):.1%}",
                f"{mean(row.positives for row in found):.0f}",
                f"{mean(row.weight for row in found):.2f}",
            )
        )
    return rows


def adversary_rows(result: LabelsResult) -> Rows:
    """Count the adversary's campaigns that an analyst sees."""
    tried = [row for row in result.adversaries if row.benign_labels and row.raised]
    idle = sum(not row.benign_labels or not row.raised for row in result.adversaries)
    return [
        ("campaigns whose organisation was called benign elsewhere", str(len(tried))),
        ("labels of that organisation, mean", f"{mean(row.benign_labels for row in tried):.0f}" if tried else "-"),
        ("of them raised", str(sum(row.raised for row in tried))),
        ("shown within the budget by the scores alone", str(sum(row.shown_without for row in tried))),
        ("shown with the head", str(sum(row.shown for row in tried))),
        ("shown with a head without the cap", str(sum(row.shown_uncapped for row in tried))),
        ("not tried: no alert of theirs was judged elsewhere, or none is raised here", str(idle)),
    ]


def silenced_rows(result: LabelsResult) -> Rows:
    """Sum up the runs that were played again, by teacher."""
    rows: Rows = []
    for teacher in dict.fromkeys(row.teacher for row in result.silenced):
        found = [row for row in result.silenced if row.teacher == teacher]
        counts = ("revisions", "missing", "milder", "changed")
        rows.append((teacher, str(len(found)), *(str(sum(getattr(row, name) for row in found)) for name in counts)))
    return rows


SILENCED_HEAD: Final = ("teacher", "runs", "revisions", "missing", "milder", "changed beside their place")


def _worlds(rows: Iterable[LabelRow], value: Callable[[LabelRow], float]) -> tuple[str, str]:
    """Give the mean over worlds and their range, each world's being the mean of its trials."""
    by_world: dict[int, list[float]] = {}
    for row in rows:
        by_world.setdefault(row.seed, []).append(value(row))
    means = [mean(values) for values in by_world.values()]
    return f"{mean(means):.1%}", f"{min(means):.1%} - {max(means):.1%}"
