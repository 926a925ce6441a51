"""`stillwatch plan` from the outside: tables, JSON, exit codes, and words for wrong input."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from services.bootstrap import load_settings
from services.capacity import coefficients
from services.capacity.demand import DemandError
from services.cli import plan as command

SMALL = ("--requests-per-second", "200", "--accounts", "100000")
LARGE = ("--requests-per-second", "1000000", "--accounts", "100000000")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    monkeypatch.chdir(tmp_path)
    load_settings.cache_clear()
    app = typer.Typer()
    command.register(app)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_it_prints_a_line_for_each_thing_with_its_reason(run: Any) -> None:
    done = run(*SMALL)
    assert done.exit_code == 0, done.output
    for word in (
        "partitions of wide topics",
        "memory of a worker",
        "recovery of a worker",
        "disk of requests",
        "network",
        "postgres",
        "incidents",
        "at requests/s",
        "Assumed: headroom 0.5",
        "Measured on",
        "Held against",
    ):
        assert word in done.output, word


def test_json_has_the_demand_the_lines_the_notes_and_the_checks(run: Any) -> None:
    done = run(*LARGE, "--json", "--path", "--largest-account", "0.0001", "--largest-pool", "0.001")
    told = json.loads(done.stdout)
    assert told["plan"]["demand"]["accounts"] == 100_000_000
    assert {"part", "what", "value", "unit", "because", "basis"} == set(told["plan"]["lines"][0])
    assert any("copies" in note["what"] for note in told["plan"]["notes"])
    assert len(told["path"]) == 6
    assert len(told["checks"]) == len(coefficients.load().checks) > 0


def test_the_path_has_a_row_for_each_factor_of_ten(run: Any) -> None:
    done = run(*LARGE, "--path")
    for rate in ("10 ", "100 ", "1,000 ", "10,000 ", "100,000 ", "1,000,000 "):
        assert f"\n  {rate}" in done.output, rate
    assert "not measured" in done.output


def test_what_cannot_be_had_is_exit_code_9(run: Any) -> None:
    done = run(*LARGE, "--largest-account", "0.5")
    assert done.exit_code == command.IMPOSSIBLE == 9
    assert "cannot be had" in done.output
    assert "busiest account" in done.output


def test_an_option_changes_what_was_assumed(run: Any) -> None:
    def workers(*more: str) -> float:
        told = json.loads(run(*LARGE, "--json", *more).stdout)
        found = [line for line in told["plan"]["lines"] if (line["part"], line["what"]) == ("accounts", "workers")]
        return float(found[0]["value"])

    assert workers("--headroom", "0.8") > workers("--headroom", "0.2")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--requests-per-second", "0", "--accounts", "1"),
        ("--requests-per-second", "nan", "--accounts", "1"),
        (*SMALL, "--headroom", "2"),
        (*SMALL, "--retention-days", "-1"),
    ],
)
def test_wrong_input_is_an_error_of_one_line(run: Any, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert isinstance(done.exception, DemandError)
    assert done.exception.exit_code == 2


def test_both_figures_must_be_given(run: Any) -> None:
    assert run("--accounts", "5").exit_code == 2


@pytest.mark.parametrize(
    ("value", "written"), [(0.12345, "0.123"), (8, "8"), (99.6, "99.6"), (1234.5, "1,230"), (1e6, "1,000,000")]
)
def test_amounts_have_three_digits_that_count(value: float, written: str) -> None:
    assert command.amount(value) == written
