"""``python -m tests.crash.pauses``: how long a partition stands still when its worker goes or another comes.

Two workers of the accounts job under a steady load; one of them ends by SIGTERM or by kill, or a third one joins. The
committed offsets of every partition are asked for twenty times a second; the pause is the longest time between two
advances of one partition around the change, less the checkpoint interval that is there without it. Writes
build/pauses.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.topics import REQUESTS
from tests.crash.cell import ROOT, SESSION_SECONDS, Cell
from tests.crash.traffic import Load, cloned_attributes, cloned_requests, simulated_day

CHECKPOINT_SECONDS: Final = 0.3
CHANGES: Final = ("SIGTERM", "kill", "join")
LIMITS: Final = {"SIGTERM": 2.0, "kill": SESSION_SECONDS + 2.0, "join": 2.0}
_RATE: Final = 100.0
_SETTLE_SECONDS: Final = 3 * SESSION_SECONDS


class Advances:
    """Watches when each partition's committed offset moves."""

    def __init__(self, cell: Cell) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": cell.broker.bootstrap_servers, "group.id": "stillwatch-accounts", "log_level": 0}
        )
        self._places = [TopicPartition(REQUESTS.name, number) for number in range(cell.partitions)]
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="advances", daemon=True)
        self.moments: dict[int, list[float]] = {number: [] for number in range(cell.partitions)}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._halt.set()
        self._thread.join()
        self._consumer.close()

    def _watch(self) -> None:
        newest: dict[int, int] = {}
        while not self._halt.wait(0.05):
            try:
                committed = self._consumer.committed(self._places, timeout=5)
            except KafkaException:
                continue
            now = time.monotonic()
            for place in committed:
                if place.offset > newest.get(place.partition, -1):
                    newest[place.partition] = place.offset
                    self.moments[place.partition].append(now)

    def longest(self, start: float, stop: float) -> float:
        """Give the longest time between two advances of one partition that overlaps these moments."""
        longest = 0.0
        for moments in self.moments.values():
            edges = [*(at for at in moments if at < stop), stop]
            gaps = [(later - at, at, later) for at, later in itertools.pairwise(edges)]
            longest = max([longest, *(gap for gap, at, later in gaps if later > start and at < stop)])
        return longest


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
            advances = Advances(cell)
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
