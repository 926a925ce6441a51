"""Rows that are tests or programs already: they run as children, and their own reports count their trials."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from xml.etree import ElementTree as ET

from tests.chaos.plan import Outcome, run_child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from xml.etree.ElementTree import Element

    from tests.chaos.plan import Plan

_STATISTICS: Final = "hypothesis-statistics-"
_EXAMPLES: Final = re.compile(r"(\d+) passing")


class Counted(NamedTuple):
    """What a run of tests says of itself. ``trials`` by test, of those that ran; ``failed`` and ``skipped`` by name."""

    trials: dict[str, int]
    failed: list[str]
    skipped: list[str]


def by_tests(
    *targets: str, full: Sequence[str] = (), environment: Callable[[Plan], dict[str, str]] = lambda _plan: {}
) -> Callable[[Plan], Outcome]:
    """Make a row of tests; those of ``full`` run in the long form alone."""

    def run(plan: Plan) -> Outcome:
        report = plan.folder / "junit.xml"
        status, told = run_child(
            plan,
            "pytest",
            [
                *(
                    "-m",
                    "pytest",
                    "-v",
                    "-p",
                    "no:randomly",
                    "-o",
                    "console_output_style=count",
                    "-o",
                    "junit_family=xunit1",
                ),
                *(f"--hypothesis-seed={plan.seed}", f"--junitxml={report}", f"--basetemp={plan.folder / 'tests'}"),
                *targets,
                *(() if plan.short else full),
            ],
            **environment(plan),
        )
        if not report.exists():
            return Outcome(0, None, None, passed=False, detail={"told": told[-3000:]})
        counted = count(report)
        # Each of these tests holds what was kept against what there should be: where all hold, nothing is missing.
        held = 0 if status == 0 else None
        detail: dict[str, Any] = {"tests": counted.trials}
        if status:
            detail |= {"failed": counted.failed, "told": told[-3000:]}
        # A test without a trial has shown nothing, whatever it says of itself.
        passed = status == 0 and bool(counted.trials) and all(counted.trials.values())
        return Outcome(sum(counted.trials.values()), held, held, passed, counted.skipped, detail)

    return run


def count(report: Path) -> Counted:
    """Count a JUnit report: a test's own figure (the property ``trials``), else Hypothesis' examples, else one."""
    root = ET.parse(report).getroot()  # noqa: S314 - our own child wrote it
    examples = _examples(root)
    trials: dict[str, int] = {}
    failed, skipped = [], []
    for case in root.iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        told = case.find("skipped")
        if told is not None:
            skipped.append(f"{name}: {told.get('message', '')}")
            continue
        own = [int(each.get("value", "0")) for each in case.iter("property") if each.get("name") == "trials"]
        trials[name] = own[0] if own else examples.get(name, 1)
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
    return Counted(trials, failed, skipped)


def _examples(root: Element) -> dict[str, int]:
    """Give how many examples of each Hypothesis test passed, as its plugin tells them in the report."""
    found = {}
    for each in root.iter("property"):
        name = each.get("name", "")
        if name.startswith(_STATISTICS):
            told = base64.b64decode(each.get("value", "")).decode()
            place, _, test = name.removeprefix(_STATISTICS).partition("::")
            found[f"{Path(place).stem}::{test}"] = sum(int(number) for number in _EXAMPLES.findall(told))
    return found


def by_crash(*phases: str, kinds: Sequence[str], short: float, full: float) -> Callable[[Plan], Outcome]:
    """Make a row of phases of ``make crash``; ``short`` and ``full`` are multiples of its number of trials."""

    def run(plan: Plan) -> Outcome:
        report = plan.folder / "crash.json"
        chosen = [argument for phase in phases for argument in ("--only", phase)]
        scale = str(plan.choose(short, full))
        status, told = run_child(
            plan,
            "crash",
            ["-m", "tests.crash", *chosen, "--scale", scale, "--seed", str(plan.seed), "--out", str(report)],
        )
        if not report.exists():
            return Outcome(0, None, None, passed=False, detail={"told": told[-3000:]})
        written = json.loads(report.read_text(encoding="utf-8"))
        total = written["total"]
        trials = sum(total[kind] for kind in kinds)
        detail = {"total": total, "compared": sum(sum(each["compared"].values()) for each in written["phases"])}
        if status:
            detail["told"] = told[-3000:]
        passed = status == 0 and trials > 0
        return Outcome(trials, total["lost"], total["duplicates"], passed, written.get("left_out", []), detail)

    return run


def by_equality(*, short: tuple[int, int], full: tuple[int, int]) -> Callable[[Plan], Outcome]:
    """Make the row of ``make equal``: how many cuttings of how many clones of a day."""

    def run(plan: Plan) -> Outcome:
        report = plan.folder / "equality.json"
        cuttings, clones = short if plan.short else full
        status, told = run_child(
            plan,
            "equality",
            [
                *("-m", "tests.crash.equality", "--seed", str(plan.seed), "--out", str(report)),
                *("--cuttings", str(cuttings), "--clones", str(clones)),
            ],
        )
        if not report.exists():
            return Outcome(0, None, None, passed=False, detail={"told": told[-3000:]})
        rows = json.loads(report.read_text(encoding="utf-8"))["cuttings"]
        detail = {name: [row[name] for row in rows] for name in ("requests", "revisions", "alerts_equal", "wrong")}
        lost, doubled = (sum(row[name] for row in rows) for name in ("lost", "duplicates"))
        return Outcome(len(rows), lost, doubled, status == 0 and bool(rows), detail=detail)

    return run
