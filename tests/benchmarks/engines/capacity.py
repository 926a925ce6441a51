"""What the capacity model is made of: `python tests/benchmarks/engines/capacity.py [--part NAME ...] [--fit]`.

Each point runs both jobs over a backlog on one pinned core: CPU for each request, largest memory, bytes and records of
every topic, the broker's CPU. ``fit`` points make the coefficients, ``held`` points check them and are of sizes that
nothing was fitted on. Parts are kept in build/capacity.json, for no machine is quiet for long; ``--fit`` makes
services/capacity/coefficients.json of what is there. docs/capacity.md tells what the model is.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import broker
import capacity_incidents
import capacity_sides as sides
import msgspec
from capacity_fit import write
from capacity_points import HOP, POINTS, Point
from confluent_kafka import Consumer, TopicPartition
from events import stream
from measure import ROOT, Committed, Figure, cpu_seconds, pinned, run_job
from recovery import recover

from detection.config import DetectionConfig
from schemas.topics import (
    ACCOUNT_WINDOWS,
    ACCOUNTS_STATE,
    FINDINGS,
    POOL_CONTRIBUTIONS,
    POOLS_STATE,
    REQUESTS,
)
from services.adapters.clock import SystemClock
from services.adapters.embedded import EmbeddedKafka
from stream_jobs.engine.worker import BEHIND_FACTOR

PARTITIONS: Final = 8
WRITTEN: Final = (REQUESTS, POOL_CONTRIBUTIONS, ACCOUNT_WINDOWS, FINDINGS, ACCOUNTS_STATE, POOLS_STATE)
_NEVER_MS: Final = 10**9

RECOVERIES: Final = (("fit", 50_000), ("fit", 150_000), ("fit", 300_000), ("held", 1_000_000))
PARTS: Final = (*(point.name for point in POINTS), "recovery", "incidents", "sides")


class Run:
    """One broker, and what is measured on it."""

    def __init__(self, kafka: EmbeddedKafka, folder: Path, core: int) -> None:
        self.servers = kafka.bootstrap_servers
        self.folder = folder
        self._data = kafka.data
        self._broker_pid = kafka.pid
        self._core = core
        config = folder / "detection.json"
        # On a slow machine a partition may look idle, and the job's control records would be counted as requests.
        config.write_bytes(
            msgspec.json.encode(DetectionConfig(clocking=msgspec.structs.replace(HOP, idle_ms=_NEVER_MS)))
        )
        self._environment = {
            "PYTHONPATH": str(ROOT),
            "STILLWATCH_DETECTION_CONFIG": str(config),
            "STILLWATCH_BASE_DIR": str(folder),
            "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": self.servers,
            "STILLWATCH_PARTITIONS": str(PARTITIONS),
        }

    def point(self, point: Point) -> dict[str, Any]:
        """Measure both jobs at one size."""
        broker.prepare(self.servers, PARTITIONS, requests=True)
        # From the beginning of a hop, so that the number of hops that close is known.
        span_ms = int(1000 * point.events / point.rate)
        begin = (SystemClock().now_ms() - span_ms) // HOP.hop_ms * HOP.hop_ms
        busy = [cpu_seconds(self._broker_pid)]
        records = stream(point.events, begin, point.rate, accounts=point.accounts, uniform=point.uniform)
        broker.produce(self.servers, records)
        mine = self._run("accounts", REQUESTS.name, point.events, point)
        busy.append(cpu_seconds(self._broker_pid))
        told = broker.shuffle(self.servers)
        busy.append(cpu_seconds(self._broker_pid))
        pools = self._run("pools", POOL_CONTRIBUTIONS.name, told["end"], point)
        broker_seconds = busy[1] - busy[0] + cpu_seconds(self._broker_pid) - busy[2]
        judged = round(pools.events / told["end"] * point.events)  # Requests that this part of the shuffle is of.
        ends = {topic.name: self._end(topic.name) for topic in WRITTEN}
        rows = ends[ACCOUNTS_STATE.name] / point.events
        chunk = BEHIND_FACTOR * point.checkpoint * mine.events / mine.wall_seconds
        found: dict[str, Any] = {
            "accounts_cpu_us": mine.cpu_us,
            "accounts_megabytes": mine.peak_megabytes,
            "accounts_per_second": mine.events / mine.wall_seconds,
            "pools_cpu_us": pools.cpu_us * pools.events / judged,
            "pools_megabytes": pools.peak_megabytes,
            "broker_cpu_us": 1e6 * broker_seconds / point.events,
            "windows": self._closed(point, mine.events) * point.distinct(point.a_hop) / mine.events,
            "pools_windows": self._closed(point, judged) * point.distinct(point.a_hop) / judged,
            "pools_closed": self._closed(point, judged) * point.a_hop / judged,
            "rows_written": rows,
            "checkpoint_requests": chunk,
            "waiting_requests": point.a_hop + chunk,
            "contributions": (told["rows"] + told["singles"]) / point.events,
            "records": {name: end / point.events for name, end in ends.items()},
            "bytes": {topic.name: self._bytes(topic.name) / point.events for topic in WRITTEN},
            "pools_live_bytes": self._live(POOLS_STATE.name),
            "largest_pool_partition": told["largest"] / (told["rows"] + told["singles"]),
        }
        return asdict(point) | {"events": point.events, "a_hop": point.a_hop} | found

    @staticmethod
    def _closed(point: Point, measured: int) -> int:
        """Count the hops that close within the last so many requests."""
        first = point.events - measured
        closings = ((hop + 1) * point.a_hop + point.rate * HOP.lateness_ms / 1000 for hop in range(point.hops))
        return sum(first < each <= point.events for each in closings)

    def _run(self, job: str, topic: str, events: int, point: Point) -> Figure:
        committed = Committed(self.servers, f"stillwatch-{job}", topic, PARTITIONS)
        environment = self._environment | {"STILLWATCH_CHECKPOINT_SECONDS": str(point.checkpoint)}
        # One hop alone is measured whole but for the start, for its end is half of the work.
        warm = events // 4 if point.hops > 1 else events // 20
        return run_job([sys.executable, "-m", f"stream_jobs.{job}"], environment, self._core, committed, events, warm)

    def incidents(self) -> dict[str, float]:
        """Measure what findings cost the incidents job."""
        return capacity_incidents.measure(self.servers, PARTITIONS, self._environment, self._core)

    def recovery(self, accounts: int) -> dict[str, float]:
        """Measure how long a worker takes to be ready, and what its state takes on disk."""
        told = recover(self.servers, PARTITIONS, self._core, self.folder, accounts)
        return told | {"disk_bytes": self._bytes(ACCOUNTS_STATE.name) / accounts}

    def _end(self, topic: str) -> int:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "capacity", "log_level": 2})
        width = len(consumer.list_topics(topic, 10).topics[topic].partitions)
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, number), 10)[1] for number in range(width)]
        consumer.close()
        return sum(ends)

    def _bytes(self, topic: str) -> int:
        folders = [each for each in self._data.glob(f"{topic}-*") if each.name.removeprefix(f"{topic}-").isdigit()]
        return sum(log.stat().st_size for each in folders for log in each.glob("*.log"))

    def _live(self, topic: str) -> int:
        """Give the bytes of each key's newest value, and its key's."""
        newest = {key: len(key) + len(value or b"") for _, _, key, value in broker.read(self.servers, topic)}
        return sum(newest.values())


def measure(parts: list[str], scale: float, known: dict[str, Any], keep: Path) -> None:
    """Measure the parts, each kept as soon as it is known."""
    cores = sorted(os.sched_getaffinity(0))
    others = cores[:-1] or cores

    def note(part: str, found: Any) -> None:
        known[part] = found
        keep.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        sys.stderr.write(f"{part}: {json.dumps(found)}\n")

    if "sides" in parts:
        note("sides", sides.measure())
    with tempfile.TemporaryDirectory(prefix="capacity", ignore_cleanup_errors=True) as folder:
        with pinned(others):
            kafka = EmbeddedKafka(Path(folder)).start()
        try:
            os.sched_setaffinity(0, others)
            run = Run(kafka, Path(folder), cores[-1])
            for point in POINTS:
                if point.name in parts:
                    note(point.name, run.point(_scaled(point, scale)))
            if "incidents" in parts:
                note("incidents", run.incidents())
            if "recovery" in parts:
                sizes = [(use, int(accounts * scale)) for use, accounts in RECOVERIES]
                note("recovery", [{"use": use} | run.recovery(accounts) for use, accounts in sizes])
        finally:
            kafka.stop()


def _scaled(point: Point, scale: float) -> Point:
    return replace(
        point,
        accounts=max(int(point.accounts * scale), 100),
        rate=point.rate * scale,
        checkpoint=point.checkpoint * scale,
    )


def main() -> None:
    """Measure the parts that were asked for, and fit what is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="this one alone; may be repeated")
    parser.add_argument("--fit", action="store_true", help="measure nothing: fit what build/capacity.json has")
    parser.add_argument("--scale", type=float, default=1.0, help="of every size: below 1 to try the command itself")
    parser.add_argument("--out", type=Path, default=ROOT / "services" / "capacity" / "coefficients.json")
    options = parser.parse_args()
    # A stop by signal leaves no process either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    keep = ROOT / "build" / "capacity.json"
    keep.parent.mkdir(exist_ok=True)
    known = json.loads(keep.read_text(encoding="utf-8")) if keep.exists() else {}
    if not options.fit:
        measure(options.part or list(PARTS), options.scale, known, keep)
    if set(PARTS) <= known.keys():
        write(known, options.out, SystemClock())


if __name__ == "__main__":
    main()
