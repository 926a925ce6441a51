"""`make chaos` counts what ran: a test's own figure, Hypothesis' examples, else one; never what was skipped."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.chaos.back import Verdict
from tests.chaos.children import by_tests, count
from tests.chaos.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path

TESTS = """
import pytest
from hypothesis import given, settings, strategies as st

@settings(max_examples=7, database=None)
@given(st.integers())
def test_examples(number):
    pass

def test_own(record_property):
    record_property("trials", 15)

@pytest.mark.parametrize("value", ["a", "b"])
def test_one_each(value):
    pass

def test_not_here():
    pytest.skip("nothing to mount")
"""


def test_trials_are_those_that_ran_and_a_failure_leaves_the_losses_uncounted(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "conftest.py").write_text("")
    file = tmp_path / "test_few.py"
    file.write_text(TESTS)
    plan = Plan(7, short=True, folder=tmp_path / "row", say=told.append)
    outcome = by_tests(str(file), full=[str(tmp_path / "test_more.py")])(plan)
    assert (outcome.trials, outcome.lost, outcome.duplicated, outcome.passed) == (7 + 15 + 2, 0, 0, True)
    assert [line.partition(": ")[2] for line in outcome.left_out] == ["nothing to mount"]

    file.write_text(TESTS + "\ndef test_fails():\n    assert False\n")
    outcome = by_tests(str(file))(plan)
    assert (outcome.lost, outcome.duplicated, outcome.passed) == (None, None, False)
    assert [name.rpartition("::")[2] for name in count(plan.folder / "junit.xml").failed] == ["test_fails"]

    assert not by_tests(str(tmp_path / "test_none.py"))(plan).passed


def test_a_verdict_is_exact_where_everything_is_there_once_and_something_was_compared() -> None:
    verdict = Verdict()
    verdict.hold("alerts", Counter("ab"), Counter("ab"))
    assert verdict.exact
    verdict.hold("evidence", Counter("aab"), Counter("abc"))
    assert (verdict.lost["evidence"], verdict.doubled["evidence"], verdict.exact) == (1, 1, False)
    empty = Verdict()
    empty.hold("decisions", Counter(), Counter())
    assert not empty.exact, "what compared nothing has shown nothing"
