"""CPU of the jobs for each event beside three stream processors: one broker, one run, one pinned core.

`python tests/benchmarks/engines [--events 800000] [--prefix 12000] [--runs 3] [--part NAME ...] [--quick] [--json]`;
docs/benchmarks.md tells what is measured and what is not. Writes ``build/bench.json`` and ``build/bench.svg``; a run of
some parts alone keeps what the file says of the others, for a machine that is never quiet for long.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import broker
import msgspec
from check import TOLERANCE, compare, ours, peers
from environments import python_of
from events import stream
from growth import curve
from measure import HERE, ROOT, BenchError, Committed, Figure, pinned, run_job, run_peer
from picture import draw
from recovery import recover
from rich.console import Console
from rich.table import Table

from detection.config import Clocking, DetectionConfig
from detection.features.catalogue import ACCOUNT_FEATURES
from schemas.topics import POOL_CONTRIBUTIONS, REQUESTS
from services.adapters.clock import SystemClock
from services.adapters.embedded import EmbeddedKafka

NAMES: Final = {
    "floor": "confluent + msgspec, nothing else",
    "stillwatch": "stream_jobs.accounts, exactly once",
    "bytewax": "Bytewax, no recovery store",
    "quix_exactly_once": "Quix Streams, exactly once",
    "faust_window": "plain Faust, River once for each window",
    "faust": "plain Faust, River for each event",
}
# Name, environment, script, and what else the peer is told.
PEERS: Final = (
    ("bytewax", "bytewax", "bytewax_peer.py", "window"),
    ("quix_exactly_once", "quix", "quix_peer.py", "window"),
    ("faust_window", "faust", "faust_peer.py", "window"),
    ("faust", "faust", "faust_peer.py", "event"),
)
_NEVER_MS: Final = 10**9
PARTS: Final = ("z20k", "uniform", "recovery", "growth")


@dataclass
class Bench:
    """One broker with its topics, and the figures so far."""

    servers: str
    core: int
    width: int
    checkpoint_seconds: float
    folder: Path
    figures: dict[str, list[Figure]] = field(default_factory=lambda: defaultdict(list))
    busy: list[float] = field(default_factory=list)
    peer_runs: int = 0

    def run_job(self, name: str, topic: str, events: int, warm: int) -> Figure:
        """Run one of the product's own workers over the whole topic."""
        # On a slow machine a partition may look idle, and the job's control records would be read by the peers.
        config = self.folder / "detection.json"
        config.write_bytes(msgspec.json.encode(DetectionConfig(clocking=Clocking(idle_ms=_NEVER_MS))))
        environment = {
            "PYTHONPATH": str(ROOT),
            "STILLWATCH_DETECTION_CONFIG": str(config),
            "STILLWATCH_BASE_DIR": str(self.folder),
            "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": self.servers,
            "STILLWATCH_CHECKPOINT_SECONDS": str(self.checkpoint_seconds),
        }
        committed = Committed(self.servers, f"stillwatch-{name}", topic, self.width)
        command = [sys.executable, "-m", f"stream_jobs.{name}"]
        return run_job(command, environment, self.core, committed, events, warm)

    def run_ours(self, events: int) -> Figure:
        """Run the accounts job from nothing."""
        broker.prepare(self.servers, self.width, requests=False)
        return self.run_job("accounts", REQUESTS.name, events, events // 4)

    def run_peer(self, peer: str, script: str, mode: str, events: int) -> tuple[Figure, dict[str, Any]]:
        """Run a peer under a name of its own, so that it starts without a past."""
        self.peer_runs += 1
        name = f"bench-{peer}-{self.peer_runs}"
        marks = self.folder / f"{name}.json"
        broker.create_topic(self.servers, f"{name}-windows", self.width)
        environment = {
            "PEER_RULES": json.dumps(_rules()),
            "PEER_MARKS": str(marks),
            "PEER_MARKED": f"{events // 4},{events}",
            "PEER_ID": name,
            "PEER_MODE": mode,
            "PEER_BROKER": f"kafka://{self.servers}" if peer == "faust" else self.servers,
            "PEER_PARTITIONS": str(self.width),
            "PEER_CHECKPOINT": str(self.checkpoint_seconds),
            "PEER_DATA": str(self.folder / name),
        }
        command = [str(python_of(peer)), str(HERE / script)]
        if peer == "faust":
            command += ["worker", "-l", "warn", "--without-web"]
        return run_peer(command, environment, self.core, events, events // 4, marks)

    def run_floor(self, events: int) -> Figure:
        """Read and decode, and nothing else."""
        warm = events // 4
        with pinned([self.core]):
            told = subprocess.run(
                [sys.executable, str(HERE / "floor.py"), self.servers, str(events), str(warm)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                check=True,
                capture_output=True,
                text=True,
            )
        return Figure(float(told.stdout), events - warm, 0.0, 0.0)

    def note(self, name: str, figure: Figure) -> None:
        """Keep a figure, and say it to whoever waits."""
        self.figures[name].append(figure)
        self.busy.append(os.getloadavg()[0])
        load = f"load {self.busy[-1]:.1f}"
        sys.stderr.write(f"{name}: {figure.cpu_us:.2f} us/event over {figure.events} events, {load}\n")
        # What was measured stays, whatever becomes of the rest of the run.
        runs = {known: [asdict(run) for run in figures] for known, figures in self.figures.items()}
        (ROOT / "build" / "bench-runs.json").write_text(json.dumps(runs) + "\n", encoding="utf-8")


def _rules() -> dict[str, Any]:
    config = DetectionConfig()
    forest = config.forest
    return {
        "hop_ms": config.clocking.hop_ms,
        "trees": forest.trees,
        "height": forest.height,
        "window": forest.window,
        "seed": config.seed,
        "features": [(feature.name, feature.low, feature.high) for feature in ACCOUNT_FEATURES],
    }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; give the report."""
    cores = sorted(os.sched_getaffinity(0))
    others = cores[:-1] or cores
    (ROOT / "build").mkdir(exist_ok=True)
    with pinned(others):
        kafka = EmbeddedKafka(folder).start()
    report: dict[str, Any] = {}
    try:
        bench = Bench(kafka.bootstrap_servers, cores[-1], options.partitions, options.checkpoint, folder)
        os.sched_setaffinity(0, others)
        if "z20k" in options.part:
            report |= {"same_job": _z20k(bench, options), "pools": _pools(bench, options)}
            report |= _figures(bench, options)
        if "uniform" in options.part:
            report["more_accounts"] = _uniform(bench, options)
        if "recovery" in options.part:
            report["recovery"] = recover(bench.servers, bench.width, bench.core, folder, options.accounts)
        if "growth" in options.part:
            report["growth"] = curve(bench.core)
    finally:
        kafka.stop()
    return report


def _figures(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    medians = {name: statistics.median(run.cpu_us for run in runs) for name, runs in bench.figures.items()}
    mine = medians["stillwatch"]
    return {
        "workload": "z20k",
        "events": options.events,
        "prefix": options.prefix,
        "runs": options.runs,
        "partitions": options.partitions,
        "checkpoint_seconds": options.checkpoint,
        "event_rate": options.rate,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": {"median": statistics.median(bench.busy), "largest": max(bench.busy)},
        "cpu_us_per_event": {name: cpu for name, cpu in medians.items() if name in NAMES},
        "other_cpu_us_per_event": {name: cpu for name, cpu in medians.items() if name not in NAMES},
        "ratio": {name: cpu / mine for name, cpu in medians.items() if name in NAMES and name != "stillwatch"},
        "runs_of": {name: [asdict(run) for run in runs] for name, runs in bench.figures.items()},
    }


def _z20k(bench: Bench, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    broker.prepare(bench.servers, bench.width, requests=True)
    span_ms = int(1000 * options.events / options.rate)
    records = stream(options.events, SystemClock().now_ms() - span_ms, options.rate)
    # First the prefix is all that there is: all sides count it, and the peers are measured on it.
    broker.produce(bench.servers, islice(records, options.prefix))
    bench.run_job("accounts", REQUESTS.name, options.prefix, 0)
    mine = ours(bench.servers)
    checked = {}
    for run in range(options.runs):
        for name, peer, script, mode in PEERS:
            if options.peer and name not in options.peer:
                continue
            if peer == "faust" and run:
                continue  # Minutes each, and so far away that their range is no question.
            figure, accounts = bench.run_peer(peer, script, mode, options.prefix)
            bench.note(name, figure)
            checked[name] = compare(mine, peers(accounts))
            _refuse_other_job(name, checked[name], options.prefix)
    broker.produce(bench.servers, records)
    for _ in range(options.runs):
        bench.note("floor", bench.run_floor(options.events))
        bench.note("stillwatch", bench.run_ours(options.events))
        counted = sum(line[0] for line in ours(bench.servers).values())
        if counted != options.events:
            raise BenchError(f"the accounts job counted {counted:.0f} of {options.events} requests")
    return checked


def _pools(bench: Bench, options: argparse.Namespace) -> dict[str, float]:
    """Run the pools job over what the accounts job has just written."""
    told = broker.shuffle(bench.servers)
    figure = bench.run_job("pools", POOL_CONTRIBUTIONS.name, told["end"], 0)
    requests = options.events
    figure = Figure(figure.cpu_us * figure.events / requests, requests, figure.wall_seconds, figure.peak_megabytes)
    bench.note("pools", figure)
    return {
        "contributions_per_request": (told["rows"] + told["singles"]) / requests,
        "of_one_request_alone": told["singles"] / (told["rows"] + told["singles"]),
        "bytes_per_request": told["bytes"] / requests,
        "cpu_us_per_request": figure.cpu_us,
        "megabytes": figure.peak_megabytes,
    }


def _uniform(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """Measure 500,000 uniform accounts, and a hot key beside none at 20,000."""
    told: dict[str, Any] = {}
    for name, accounts, uniform in (("u20k", 20_000, True), ("u500k", 500_000, True)):
        broker.prepare(bench.servers, bench.width, requests=True)
        span_ms = int(1000 * options.events / options.rate)
        begin = SystemClock().now_ms() - span_ms
        broker.produce(bench.servers, stream(options.events, begin, options.rate, accounts=accounts, uniform=uniform))
        bench.note(f"{name}_floor", bench.run_floor(options.events))
        bench.note(name, bench.run_ours(options.events))
        floor, mine = bench.figures[f"{name}_floor"][-1].cpu_us, bench.figures[name][-1].cpu_us
        told[name] = {"floor": floor, "stillwatch": mine, "to_the_floor": mine / floor, "load": bench.busy[-1]}
    return told


def _refuse_other_job(name: str, checked: dict[str, float], events: int) -> None:
    wrong = checked["accounts_on_one_side_only"] + checked["accounts_that_differ"]
    if wrong or checked["requests"] != events or checked["largest_feature_difference"] > TOLERANCE:
        raise BenchError(f"{name} did not do the same job: {checked}")


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    table = Table("", "CPU us/event", "range", "to stillwatch", "events/s of one core", "peak MB")
    for name, told in NAMES.items():
        if name not in report["runs_of"]:
            continue
        runs = [run["cpu_us"] for run in report["runs_of"][name]]
        median = report["cpu_us_per_event"][name]
        table.add_row(
            told,
            f"{median:.2f}",
            f"{min(runs):.2f} - {max(runs):.2f}",
            f"{report['ratio'].get(name, 1.0):.2f} x",
            f"{1e6 / median:,.0f}",
            f"{max(run['peak_megabytes'] for run in report['runs_of'][name]) or float('nan'):.0f}",
        )
    console = Console(width=120)
    console.print(table)
    for name in ("pools", "more_accounts", "recovery", "growth", "load_average"):
        if name in report:
            console.print(name, report[name])


def main() -> None:
    """Measure, print, and write the report and its picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=800_000, help="of the jobs and of the floor: several checkpoints")
    parser.add_argument("--prefix", type=int, default=12_000, help="of them, for the peers")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--checkpoint", type=float, default=1.0, help="the setting; peers commit as often")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second of event time")
    parser.add_argument("--accounts", type=int, default=1_000_000, help="to recover")
    parser.add_argument("--part", action="append", choices=PARTS, help="this one alone; may be repeated")
    parser.add_argument("--peer", action="append", choices=[name for name, *_ in PEERS], help="of z20k, this one alone")
    parser.add_argument("--quick", action="store_true", help="z20k alone")
    parser.add_argument("--json", action="store_true", help="print the report instead of the table")
    options = parser.parse_args()
    options.part = options.part or (PARTS[:1] if options.quick else PARTS)
    # A stop by signal leaves no process either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        report = measure(options, Path(folder))
    written = ROOT / "build" / "bench.json"
    if len(options.part) < len(PARTS) and written.exists():
        report = json.loads(written.read_text(encoding="utf-8")) | report
    text = json.dumps(report, indent=2)
    written.write_text(text + "\n", encoding="utf-8")
    if "cpu_us_per_event" not in report:
        sys.stdout.write(text + "\n")
        return
    draw(report, ROOT / "build" / "bench.svg")
    if options.json:
        sys.stdout.write(text + "\n")
    else:
        show(report)


if __name__ == "__main__":
    main()
