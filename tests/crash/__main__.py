"""``python -m tests.crash``: kills, zombies, rebalances, broker restarts and a full disk, judged by an oracle.

Prints its seed; the same seed draws the same traffic, faults and moments. Ends with 1 where a committed reader sees
anything lost, wrong or twice, and writes what it did and saw to build/crash.json.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.crash import trials
from tests.crash.cell import ROOT, Cell, UnexpectedError
from tests.crash.oracle import Verdict, judge, shipped_references
from tests.crash.small_disk import SmallDisk, with_right_to_mount
from tests.crash.traffic import Load, cloned_attributes, cloned_requests, simulated_day

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.crash.traffic import Keyed

DISK_MEGABYTES: Final = 256


class Phase(NamedTuple):
    """Disturbances on one broker, one kind after the other, and the traffic beside them.

    ``clones`` of the simulated day, and requests a second.
    """

    name: str
    kinds: Mapping[str, int]
    clones: int
    rate: float


KINDS: Final = ("kills", "zombies", "rebalances", "broker_restarts", "disk_full")
FULL: Final = (
    Phase("kills", {"kills": 104}, 8, 14.0),
    Phase("zombies", {"zombies": 12}, 4, 14.0),
    Phase("rebalances", {"rebalances": 22}, 5, 14.0),
    Phase("brokers", {"broker_restarts": 6}, 3, 60.0),
    Phase("disks", {"disk_full": 2}, 2, 60.0),
)
SHORT: Final = (
    Phase("short", {"kills": 8, "zombies": 2, "rebalances": 2, "broker_restarts": 1, "disk_full": 1}, 2, 60.0),
)


class Run:
    """One run of all phases from one seed."""

    def __init__(self, seed: int, phases: tuple[Phase, ...], folder: Path) -> None:
        self.seed = seed
        self._phases = phases
        self._folder = folder
        self._began = time.monotonic()
        self._counted: dict[str, int] = {}
        self.report: dict[str, Any] = {"seed": seed, "phases": []}

    def tell(self, kind: str, text: str) -> None:
        """One line for each disturbance: when, the how manyth of how many, what."""
        self._counted[kind] = self._counted.get(kind, 0) + 1
        of = sum(phase.kinds.get(kind, 0) for phase in self._phases)
        self._say(f"{kind} {self._counted[kind]}/{of}: {text}")

    def _say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        sys.stderr.write(f"[{minutes:02}:{seconds:02}] {text}\n")
        sys.stderr.flush()

    def all(self, *, can_mount: bool) -> bool:
        """Run the phases one after the other; whether all was exact."""
        self._say(f"seed {self.seed}: play it again with --seed {self.seed}")
        attributes, day = simulated_day()
        for phase in self._phases:
            if "disk_full" in phase.kinds and not can_mount:
                self.report["left_out"] = ["disk_full: no right to mount a small file system"]
                phase = phase._replace(kinds={kind: n for kind, n in phase.kinds.items() if kind != "disk_full"})  # noqa: PLW2901 - what is left of it
            dice = Random(f"{self.seed} {phase.name}")  # noqa: S311 - a trial must be repeatable
            told = cloned_attributes(attributes, phase.clones)
            records = cloned_requests(day, phase.clones, dice)
            self.report["phases"].append(self._phase(phase, dice, told, records))
        self.report["total"] = self._total()
        self.report["seconds"] = round(time.monotonic() - self._began, 1)
        total = self.report["total"]
        return not (total["lost"] or total["wrong"] or total["duplicates"] or total["broken"])

    def _phase(self, phase: Phase, dice: Random, told: list[Keyed], records: list[Keyed]) -> dict[str, Any]:
        began = time.monotonic()
        cell = Cell(self._folder / phase.name)
        disk = SmallDisk(cell.broker.data, DISK_MEGABYTES) if "disk_full" in phase.kinds else None
        row: dict[str, Any] = {"name": phase.name, "trials": [], "broken": ""}
        try:
            cell.open()
            load = Load(cell.broker.bootstrap_servers, records, phase.rate, Random(dice.random()))  # noqa: S311 - as above
            load.attributes(told)
            load.start()
            for kind, count in phase.kinds.items():
                trials.one_each(cell)
                row["trials"] += self._disturb(kind, count, cell, disk, dice)
            self._say(f"{phase.name}: disturbed enough; waiting until all is read")
            load.finish(cell.mend)
            trials.one_each(cell)
            cell.settle()
            row["requests"] = {"sent": load.sent, "over": load.over, **load.outcomes}
            row["ends"] = _ends(cell)
            self._say(f"{phase.name}: comparing with the oracle")
            verdict = judge(cell, shipped_references(), dice)
        except UnexpectedError as failure:
            row["broken"] = str(failure)
            verdict = Verdict()
        finally:
            cell.close()
            if disk is not None:
                disk.close()
        row["seconds"] = round(time.monotonic() - began, 1)
        self._say(
            f"{phase.name}: lost {verdict.lost}, wrong {verdict.wrong}, duplicates {verdict.duplicates} of "
            f"{sum(verdict.compared.values()):,} compared" + (f"; BROKEN: {row['broken']}" if row["broken"] else "")
        )
        for example in verdict.examples:
            self._say(f"  {example}")
        if verdict.exact and not row["broken"]:
            shutil.rmtree(cell.folder)
        return row | asdict(verdict)

    def _disturb(self, kind: str, count: int, cell: Cell, disk: SmallDisk | None, dice: Random) -> list[dict[str, Any]]:
        if disk is not None and kind == "disk_full":
            rows = trials.disk_full(cell, disk, dice, count, self.tell)
        else:
            by_name: dict[str, Callable[..., list[dict[str, Any]]]] = {
                "kills": trials.kills,
                "zombies": trials.zombies,
                "rebalances": trials.rebalances,
                "broker_restarts": trials.broker_restarts,
            }
            rows = by_name[kind](cell, dice, count, self.tell)
        return [{"kind": kind, **row} for row in rows]

    def _total(self) -> dict[str, int]:
        phases = self.report["phases"]
        done = {kind: sum(row["kind"] == kind for phase in phases for row in phase["trials"]) for kind in KINDS}
        sums = {name: sum(phase[name] for phase in phases) for name in ("lost", "wrong", "duplicates")}
        return done | sums | {"broken": sum(bool(phase["broken"]) for phase in phases)}


def _ends(cell: Cell) -> dict[str, int]:
    counted: dict[str, int] = {}
    for job, _, status in cell.ends:
        counted[f"{job} {status}"] = counted.get(f"{job} {status}", 0) + 1
    return counted


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--seed", type=int, help="play a run again; without it a new seed is drawn and printed")
    parser.add_argument("--short", action="store_true", help="a few of each kind, in two minutes")
    parser.add_argument("--only", action="append", help="one phase of the full form alone; may be repeated")
    parser.add_argument("--scale", type=float, default=1.0, help="a multiple of the number of trials and of traffic")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "crash.json")
    options = parser.parse_args(arguments)
    # Workers must go with their trial, however that ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    seed = options.seed if options.seed is not None else secrets.randbelow(10**9)
    can_mount = with_right_to_mount([*arguments, *([] if "--seed" in arguments else ["--seed", str(seed)])])
    phases = tuple(
        phase._replace(
            kinds={kind: max(1, round(count * options.scale)) for kind, count in phase.kinds.items()},
            clones=max(1, round(phase.clones * options.scale)),
        )
        for phase in (SHORT if options.short else FULL)
        if not options.only or phase.name in options.only
    )
    with tempfile.TemporaryDirectory(prefix="crash-", ignore_cleanup_errors=True) as scratch:
        run = Run(seed, phases, Path(scratch))
        exact = run.all(can_mount=can_mount)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(run.report, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(run.report["total"]) + "\n")
    return 0 if exact else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
