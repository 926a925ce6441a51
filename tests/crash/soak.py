"""``python -m tests.crash.soak``: the whole product for half an hour at half of what it can take; does anything grow?

First a burst tells how many requests a second the jobs can take; then that many times ``--load`` are sent, live, from a
population of a fixed size, so that after a while nothing has a reason to grow any more. Every few seconds the memory,
the file descriptors and the threads of every process are noted. Writes build/soak.json and a picture beside it; ends
with 1 where memory or descriptors go on growing.

Memory is a process's own (anonymous) pages: files that the broker maps are the kernel's cache. Files of the broker's
log are counted apart, for a log that keeps what it is told has more of them until its retention. A Java process fills
the heap that it was given before it collects; it is judged by that limit.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec
from confluent_kafka import Producer

from detection.config import Clocking, DetectionConfig
from schemas.topics import REQUESTS
from services.adapters.clock import SystemClock
from services.adapters.kafka.client import producer_config
from services.settings import Settings
from tests.acceptance import product as acceptance
from tests.acceptance.product import ROOT, Product
from tests.crash.picture import draw
from tests.crash.traffic import clone_of, cloned_attributes, simulated_day

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.crash.traffic import Keyed

PARTITIONS: Final = 8
CLONES: Final = 40  # Of 119 accounts each.
SAMPLE_SECONDS: Final = 5.0
BURST: Final = 20_000
# Hops of a minute, so that half an hour closes thirty.
CONFIG: Final = DetectionConfig(clocking=Clocking(hop_ms=60_000, lateness_ms=5_000, idle_ms=5_000))
WARM_SHARE: Final = 0.4  # Of the time: until then caches fill, and every account and pool comes for the first time.
# What a process may gain over the measured part. Allocators keep some pages; a leak at this rate shows within minutes.
ALLOWED_GROWTH: Final = 0.05
ALLOWED_MEGABYTES: Final = 12.0
ALLOWED_DESCRIPTORS: Final = 4
BESIDE_HEAP_MEGABYTES: Final = 160.0  # Of a Java process: classes, compiled code, the stacks of some eighty threads.
_FIELDS: Final = ("own_mb", "descriptors", "threads", "log_files")
_LOG_FILES: Final = (".log", ".index", ".timeindex", ".txnindex", ".snapshot")


class LiveLoad:
    """Sends the day's requests over and over, at the present time and a given rate, from cloned accounts."""

    def __init__(self, servers: str, day: Sequence[dict[str, Any]], dice: Random) -> None:
        config = producer_config(Settings(), servers) | {"log_level": 0, "linger.ms": 20}
        self._producer = Producer(config | {"queue.buffering.max.messages": 500_000})
        self._made = self._make(day, dice)
        self._halt = threading.Event()
        self.asked = 0  # How many the rate has asked for so far.
        self.sent = 0
        self.failed = 0

    def _make(self, day: Sequence[dict[str, Any]], dice: Random) -> Iterator[Keyed]:
        clock = SystemClock()
        while True:
            # By account first: each turn of the clones takes another request of the day.
            event = dice.choice(day)
            if event.get("sketch", {}).get("last_turn"):
                # Clones that said the same at one moment would all be one operator's.
                event = event | {"sketch": event["sketch"] | {"last_turn": f"{dice.getrandbits(64) | 1:016x}"}}
            yield clone_of(event, dice.randrange(CLONES), clock.now_ms() - dice.randrange(2_000), dice.getrandbits(64))

    def send(self, count: int) -> None:
        """Send so many at once."""
        for _ in range(count):
            record = next(self._made)
            while True:
                try:
                    self._producer.produce(REQUESTS.name, record.value, record.key, on_delivery=self._delivered)
                except BufferError:
                    self._producer.poll(0.1)
                else:
                    break
        self._producer.poll(0)

    def _delivered(self, error: Any, _message: object) -> None:
        self.sent += error is None
        self.failed += error is not None

    def flush(self) -> None:
        """Wait until the broker has everything."""
        if self._producer.flush(120):
            raise TimeoutError("the broker does not take the load")

    def keep_on(self, rate: float) -> threading.Thread:
        """Send at this rate from a thread, until ``halt``."""
        thread = threading.Thread(target=self._run, args=(rate,), name="load", daemon=True)
        thread.start()
        return thread

    def _run(self, rate: float) -> None:
        began, due = time.monotonic(), 0.0
        while not self._halt.wait(0.05):
            due = (time.monotonic() - began) * rate
            count = int(due) - self.asked
            self.asked += count
            self.send(count)

    def halt(self) -> None:
        """Send no more."""
        self._halt.set()


def sample(pids: dict[str, int]) -> dict[str, dict[str, float]]:
    """Give memory, descriptors and threads of each process that lives."""
    found = {}
    for name, pid in pids.items():
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
            facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
            opened = [_target(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        own = float(facts["RssAnon"].split()[0]) / 1024 if "RssAnon" in facts else 0.0
        log_files = sum(target.removesuffix(" (deleted)").endswith(_LOG_FILES) for target in opened)
        found[name] = {
            "own_mb": round(own, 2),
            "descriptors": float(len(opened) - log_files),
            "threads": float(facts["Threads"]),
            "log_files": float(log_files),
        }
    return found


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # Closed since it was listed.
        return ""


def heap_limits(pids: dict[str, int]) -> dict[str, float]:
    """Give the heap limit in MB of each process that runs Java."""
    found = {}
    for name, pid in pids.items():
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        limits = [each for each in arguments if re.fullmatch(r"-Xmx\d+m", each)]
        if limits:
            found[name] = float(limits[-1].removeprefix("-Xmx").removesuffix("m"))
    return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Give the least-squares slope, in units an hour; points are (seconds, value)."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def judge(samples: Sequence[dict[str, Any]], heaps: dict[str, float] | None = None) -> dict[str, dict[str, Any]]:
    """Say for each process how its figures moved after the warm-up, and whether that is growth.

    ``heaps`` are the heap limits in MB of those that run Java.
    """
    last = samples[-1]["seconds"]
    measured = [each for each in samples if each["seconds"] >= WARM_SHARE * last]
    verdict: dict[str, dict[str, Any]] = {}
    for name in samples[-1]["processes"]:
        rows = [each for each in measured if name in each["processes"]]
        told: dict[str, Any] = {}
        for field in _FIELDS:
            points = [(each["seconds"], each["processes"][name][field]) for each in rows]
            values = [value for _, value in points]
            third = max(1, len(values) // 3)
            told[field] = {
                "first_third": round(sum(values[:third]) / third, 2),
                "last_third": round(sum(values[-third:]) / third, 2),
                "slope_an_hour": round(slope(points), 2),
            }
        memory, files = told["own_mb"], told["descriptors"]
        heap = (heaps or {}).get(name)
        if heap is None:
            gained = memory["last_third"] - memory["first_third"]
            fuller = gained > max(ALLOWED_MEGABYTES, ALLOWED_GROWTH * memory["first_third"])
        else:
            told["heap_limit_mb"] = heap
            fuller = memory["last_third"] > heap + BESIDE_HEAP_MEGABYTES
        told["grows"] = bool(fuller or files["last_third"] - files["first_third"] > ALLOWED_DESCRIPTORS)
        verdict[name] = told
    return verdict


class Soak:
    """One run on a product of its own."""

    def __init__(self, folder: Path, minutes: float, load: float, rate: float, seed: int) -> None:
        self._product = Product(folder, partitions=PARTITIONS)
        config = folder / "detection.json"
        config.write_bytes(msgspec.json.encode(CONFIG))
        self._product.environment |= {"STILLWATCH_DETECTION_CONFIG": str(config), "STILLWATCH_LOG_LEVEL": "warning"}
        self._minutes = minutes
        self._share = load
        self._rate = rate
        self._dice = Random(seed)  # noqa: S311 - a trial must be repeatable

    def run(self) -> dict[str, Any]:
        """Start everything, send, sample, and end everything."""
        attributes, day = simulated_day()
        acceptance.UP_SECONDS = 600.0  # type: ignore[misc]  # a busy machine is no failure here
        self._product.start()
        try:
            self._product.import_accounts(record.value for record in cloned_attributes(attributes, CLONES))
            load = LiveLoad(self._product.kafka, day, self._dice)
            capacity = self._measure(load) if not self._rate else 0.0
            rate = self._rate or capacity * self._share
            _say(f"sending {rate:,.0f} requests a second for {self._minutes:g} minutes")
            samples = self._soak(load, rate)
            restarts = {name: part["restarts"] for name, part in self._product.status().items() if part["restarts"]}
            lag, heaps = self._lag(), heap_limits(self._pids())
            self._product.stop()
        finally:
            self._product.kill()
        verdict = judge(samples, heaps)
        return {
            "minutes": self._minutes,
            "capacity_per_second": round(capacity),
            "rate_per_second": round(rate),
            "sent": load.sent,
            "failed": load.failed,
            "restarts": restarts,
            "lag_at_the_end": lag,
            "grows": sorted(name for name, told in verdict.items() if told["grows"]),
            "processes": verdict,
            "samples": samples,
        }

    def _measure(self, load: LiveLoad) -> float:
        """Give how many requests a second both jobs take, from a burst that is larger than their buffers."""
        load.send(BURST // 10)
        load.flush()
        self._wait_for_no_lag(600)
        load.send(BURST)
        load.flush()
        began = time.monotonic()
        self._wait_for_no_lag(900)
        capacity = BURST / (time.monotonic() - began)
        _say(f"a burst of {BURST:,} was through both jobs at {capacity:,.0f} a second")
        return capacity

    def _pids(self) -> dict[str, int]:
        return {name: part["pid"] for name, part in self._product.status().items() if part["pid"]}

    def _lag(self) -> float:
        return sum(sum(self._product.gauge(job, "stillwatch_consumer_lag")) for job in ("accounts", "pools"))

    def _wait_for_no_lag(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            time.sleep(1.2)
            if not self._lag():
                return
            if time.monotonic() > deadline:
                raise TimeoutError("the jobs do not catch up")

    def _soak(self, load: LiveLoad, rate: float) -> list[dict[str, Any]]:
        pids = self._pids()
        began = time.monotonic()
        end = began + 60 * self._minutes
        sending = load.keep_on(rate)
        samples: list[dict[str, Any]] = []
        told = began
        while time.monotonic() < end:
            time.sleep(SAMPLE_SECONDS)
            now = time.monotonic()
            samples.append({"seconds": round(now - began, 1), "sent": load.sent, "processes": sample(pids)})
            if now - told >= 60:
                told = now
                newest = samples[-1]["processes"]
                figures = ", ".join(f"{name} {newest[name]['own_mb']:.0f} MB" for name in ("accounts", "pools"))
                _say(f"{(now - began) / 60:.0f}/{self._minutes:g} minutes, {load.sent:,} sent, {figures}")
        load.halt()
        sending.join()
        load.flush()
        return samples


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--load", type=float, default=0.5, help="share of what the jobs can take")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second, in place of a measured share")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "soak.json")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as scratch:
        report = Soak(Path(scratch), options.minutes, options.load, options.rate, options.seed).run()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report) + "\n", encoding="utf-8")
    picture = options.out.with_suffix(".svg")
    picture.write_text(draw(report["samples"], "own_mb", "own memory, MB, by minutes"), encoding="utf-8")
    told = {name: value for name, value in report.items() if name not in {"samples", "processes"}}
    for name, figures in report["processes"].items():
        memory, files, log = figures["own_mb"], figures["descriptors"], figures["log_files"]
        _say(
            f"{name}: {memory['first_third']} to {memory['last_third']} MB ({memory['slope_an_hour']} MB an hour), "
            f"{files['first_third']} to {files['last_third']} descriptors"
            + (f", {log['first_third']} to {log['last_third']} log files" if log["last_third"] else "")
        )
    sys.stdout.write(json.dumps(told) + "\n")
    return int(bool(report["grows"]) or report["failed"] > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
