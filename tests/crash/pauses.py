"""``python -m tests.crash.pauses``: how long a partition stands still when its worker goes or another comes.

Two workers of the accounts job under a steady load; one of them ends by SIGTERM or by kill, or a third one joins. The
committed offsets of every partition are asked for twenty times a second; the pause is the longest time between two
advances of one partition around the change, less the checkpoint interval that is there without it. Writes
build/pauses.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any, Final

from schemas.topics import REQUESTS
from tests.crash.advances import Advances
from tests.crash.cell import ROOT, SESSION_SECONDS, Cell
from tests.crash.traffic import Load, cloned_attributes, cloned_requests, simulated_day

CHECKPOINT_SECONDS: Final = 0.3
CHANGES: Final = ("SIGTERM", "kill", "join")
LIMITS: Final = {"SIGTERM": 2.0, "kill": SESSION_SECONDS + 2.0, "join": 2.0}
_RATE: Final = 100.0
_SETTLE_SECONDS: Final = 3 * SESSION_SECONDS


def measure(cell: Cell, change: str, advances: Advances) -> dict[str, Any]:
    """Let one change happen to two working workers; two work again afterwards."""
    usual = advances.longest(time.monotonic() - 5.0, time.monotonic())
    began = time.monotonic()
    if change == "join":
        cell.start("accounts", 2)
        joined = cell.wait(lambda: '"partitions.assigned"' in cell.log_of("accounts", 2), 300, "it has partitions")
        time.sleep(_SETTLE_SECONDS)
        pause = advances.longest(began, time.monotonic())
        cell.workers["accounts", 2].terminate()
        cell.end_of("accounts", 2, 120)
        time.sleep(_SETTLE_SECONDS)
        return {"change": change, "joined": joined, "usual": round(usual, 2), "pause": round(pause - usual, 2)}
    cell.workers["accounts", 1].send_signal(signal.SIGTERM if change == "SIGTERM" else signal.SIGKILL)
    status = cell.end_of("accounts", 1, 120)
    time.sleep(_SETTLE_SECONDS)
    pause = advances.longest(began, time.monotonic())
    cell.start("accounts", 1)
    cell.wait(lambda: cell.working("accounts", 1), 300, "two work again")
    time.sleep(_SETTLE_SECONDS)
    return {"change": change, "status": status, "usual": round(usual, 2), "pause": round(pause - usual, 2)}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.pauses", description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="of each change")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "pauses.json")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    rows: list[dict[str, Any]] = []
    attributes, day = simulated_day()
    dice = Random(1)  # noqa: S311 - only the traffic depends on it
    with tempfile.TemporaryDirectory(prefix="pauses-", ignore_cleanup_errors=True) as scratch:
        cell = Cell(Path(scratch))
        try:
            cell.open()
            clones = 30
            load = Load(cell.broker.bootstrap_servers, cloned_requests(day, clones, dice), _RATE, dice)
            load.attributes(cloned_attributes(attributes, clones))
            load.start()
            for index in (0, 1):
                cell.start("accounts", index)
                cell.wait(lambda: cell.working("accounts", index), 300, "it works")  # noqa: B023 - asked at once
            advances = Advances(cell.broker.bootstrap_servers, {"accounts": REQUESTS.name}, cell.partitions)
            advances.start()
            time.sleep(_SETTLE_SECONDS)
            for _ in range(options.times):
                for change in CHANGES:
                    rows.append(measure(cell, change, advances) | {"busy": round(os.getloadavg()[0], 1)})
                    sys.stderr.write(f"{rows[-1]}\n")
            advances.stop()
        finally:
            cell.close()
    medians = {
        change: round(statistics.median(row["pause"] for row in rows if row["change"] == change), 2)
        for change in CHANGES
    }
    report = {"session_seconds": SESSION_SECONDS, "limits": LIMITS, "median_pause": medians, "changes": rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(medians) + "\n")
    return int(any(medians[change] > limit for change, limit in LIMITS.items()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
