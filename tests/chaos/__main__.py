"""``python -m tests.chaos``: everything that the product must survive, one row after the other.

Prints its seed, each row's progress and figures, and writes them to build/chaos.json after each row. The same seed
draws the same faults. Ends with 1 where a row fails.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.plan import ROOT, Outcome, Plan
from tests.chaos.rows import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.plan import Row

_WIDTH: Final = max(len(row.name) for row in TABLE)


def play(rows: Sequence[Row], seed: int, *, short: bool, folder: Path, out: Path) -> bool:
    """Run rows one after the other and write the report after each; gives whether all passed."""
    began = time.monotonic()

    def say(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        sys.stderr.write(f"[{minutes:02}:{seconds:02}] {text}\n")
        sys.stderr.flush()

    say(f"seed {seed}: play it again with --seed {seed}")
    report: dict[str, Any] = {"seed": seed, "short": short, "rows": []}
    for place, row in enumerate(rows, 1):
        say(f"{place}/{len(rows)}: {row.number} {row.name}")
        start = time.monotonic()
        outcome = row.run(Plan(seed, short, folder / str(place), say))
        seconds = round(time.monotonic() - start, 1)
        report["rows"].append({"number": row.number, "name": row.name, **asdict(outcome), "seconds": seconds})
        report["seconds"] = round(time.monotonic() - began, 1)
        report["passed"] = all(each["passed"] for each in report["rows"])
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        say(_line(row, outcome, seconds))
        for reason in outcome.left_out:
            say(f"  left out: {reason}")
        if not outcome.passed:
            say(str(outcome.detail.get("told", outcome.detail)))
    return bool(report["passed"])


def _line(row: Row, outcome: Outcome, seconds: float) -> str:
    lost, doubled = (("?" if value is None else f"{value}") for value in (outcome.lost, outcome.duplicated))
    return (
        f"{row.number:>2} {row.name:<{_WIDTH}}  trials {outcome.trials:>6,}  lost {lost}  duplicated {doubled}  "
        f"{'passed' if outcome.passed else 'FAILED'} in {seconds:.0f} s"
    )


def _numbers(text: str) -> set[int]:
    known = {row.number for row in TABLE}
    chosen = {int(number) for number in text.split(",")}
    if not chosen <= known:
        raise argparse.ArgumentTypeError(f"there is no row {sorted(chosen - known)}, but {sorted(known)}")
    return chosen


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="few trials of each row, and no row that is long however few"
    )
    parser.add_argument("--rows", type=_numbers, help="numbers of rows, with commas between them")
    parser.add_argument("--seed", type=int, help="play a run again; without it a new seed is drawn and printed")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "chaos.json")
    options = parser.parse_args(arguments)
    # Children must go with their row, however that ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    seed = options.seed if options.seed is not None else secrets.randbelow(10**9)
    rows = [
        row for row in TABLE if (not options.rows or row.number in options.rows) and (row.in_short or not options.short)
    ]
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as scratch:
        passed = play(rows, seed, short=options.short, folder=Path(scratch), out=options.out)
    return int(not passed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
