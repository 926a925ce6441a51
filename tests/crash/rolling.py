"""``python -m tests.crash.rolling``: what a rolling restart of all workers costs, static members against dynamic ones.

The whole product, with several workers of accounts and of pools, under a steady load. One worker after the other is
ended by SIGTERM, started again by the supervisor and waited for until it says that it is ready. All the while accounts
are brought over detectors' edges, as in ``tests.benchmarks.alert_latency``. Told for the time before and for the time
of the restarts: the longest time that a partition's committed offset stood still, and the time from a planted event to
the row of its alert. Every planted account must be in an alert. Writes build/rolling.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from schemas.topics import POOL_CONTRIBUTIONS, REQUESTS
from tests.acceptance import product as acceptance
from tests.acceptance.product import ROOT, Product, wait_until
from tests.benchmarks.alert_latency import Case, Planter, configuration, quantile, stored_moments
from tests.crash.advances import Advances
from tests.crash.soak import CLONES, LiveLoad
from tests.crash.traffic import cloned_attributes, simulated_day

PARTITIONS: Final = 8
JOBS: Final = {"accounts": REQUESTS.name, "pools": POOL_CONTRIBUTIONS.name}
# The chart's session for static members; the settings' own for the others.
SESSIONS: Final = {"static": 60_000, "dynamic": 10_000}
_SETTLE_SECONDS: Final = 5.0


class Planting:
    """Plants from a thread of its own until ``halt``."""

    def __init__(self, planter: Planter, dice: Random) -> None:
        self.planter = planter
        self._dice = dice
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="planting", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._halt.wait(self._dice.uniform(0.2, 0.6)):
            self.planter.probe()
            self.planter.link()

    def halt(self) -> None:
        """Plant no more, and wait until the broker has everything."""
        self._halt.set()
        self._thread.join()
        self.planter.flush()


def restart(product: Product, part: str) -> float:
    """End a worker by SIGTERM and wait until its successor is ready; gives how long that took, in seconds."""
    before = product.status()[part]["pid"]
    os.kill(before, signal.SIGTERM)

    def ready() -> bool:
        told = product.status()[part]
        return told["state"] == "ready" and told["pid"] != before

    return wait_until(ready, 300, f"{part} is ready again")


def measure(members: str, workers: int, rate: float, calm: float, seed: int, folder: Path) -> dict[str, Any]:
    """Run the product once, with static or dynamic members."""
    dice = Random(seed)  # noqa: S311 - a trial must be repeatable
    arguments = [text for job in JOBS for text in ("--workers", f"{job}={workers}")]
    product = Product(folder, partitions=PARTITIONS, arguments=arguments)
    config = folder / "detection.json"
    config.write_bytes(msgspec.json.encode(configuration(Case("rolling"))))
    product.environment |= {
        "STILLWATCH_DETECTION_CONFIG": str(config),
        "STILLWATCH_LOG_LEVEL": "warning",
        "STILLWATCH_SESSION_TIMEOUT_MS": str(SESSIONS[members]),
        "STILLWATCH_STATIC_MEMBERSHIP": str(members == "static").lower(),
    }
    attributes, day = simulated_day()
    product.start()
    try:
        product.import_accounts(record.value for record in cloned_attributes(attributes, CLONES))
        load = LiveLoad(product.kafka, day, dice)
        sending = load.keep_on(rate)
        advances = Advances(product.kafka, JOBS, PARTITIONS)
        advances.start()
        time.sleep(4 * _SETTLE_SECONDS)
        planting = Planting(Planter(product.kafka, dice), dice)
        began = _now()
        time.sleep(calm)
        rolling = _now()
        took = {}
        for part in [name for name in product.status() if name.split("-")[0] in JOBS]:
            took[part] = round(restart(product, part), 1)
            sys.stderr.write(f"{members}: {part} was ready again after {took[part]} s\n")
            time.sleep(_SETTLE_SECONDS)
        time.sleep(2 * _SETTLE_SECONDS)
        ended = _now()
        planting.halt()
        load.halt()
        sending.join()
        wanted = sum(map(len, planting.planter.moments.values()))
        stored: dict[str, int] = {}

        def all_there() -> bool:
            stored.update(stored_moments(product, planting.planter))
            return len(stored) == wanted

        try:
            wait_until(all_there, 120, "every alert is stored")
        except AssertionError as late:
            sys.stderr.write(f"{late}\n")
        advances.stop()
        restarts = sum(part["restarts"] for part in product.status().values())
        product.stop()
    finally:
        product.kill()
    phases = {"before": (began, rolling), "rolling": (rolling, ended)}
    return {
        "members": members,
        "workers": workers,
        "rate_per_second": rate,
        "sent": load.sent,
        "planted": wanted,
        "missing": wanted - len(stored),
        "restarts": restarts,
        "ready_again_seconds": took,
        "busy": round(os.getloadavg()[0], 1),
        "phases": {
            name: {
                "seconds": round(stop[0] - start[0], 1),
                "longest_pause_seconds": {job: round(advances.longest(start[0], stop[0], job), 2) for job in JOBS},
                "event_to_alert_seconds": _waits(planting.planter, stored, start[1], stop[1]),
            }
            for name, (start, stop) in phases.items()
        },
    }


def _now() -> tuple[float, float]:
    """Give the moment by the clock of pauses, and by that of events in ms."""
    return time.monotonic(), time.time() * 1000  # noqa: TID251 - alerts are stored by the wall clock


def _waits(planter: Planter, stored: dict[str, int], start: float, stop: float) -> dict[str, dict[str, float]]:
    told = {}
    for kind, moments in planter.moments.items():
        within = {account: at for account, at in moments.items() if start <= at < stop and account in stored}
        waits = sorted((stored[account] - at) / 1000 for account, at in within.items())
        told[kind] = {
            "alerts": len(waits),
            "p50": quantile(waits, 0.5),
            "p99": quantile(waits, 0.99),
            "most": round(waits[-1], 2),
        }
    return told


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.rolling", description=__doc__)
    parser.add_argument("--members", action="append", choices=SESSIONS, help="may be repeated; both without it")
    parser.add_argument("--workers", type=int, default=3, help="of each of the two jobs")
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second")
    parser.add_argument("--calm", type=float, default=45.0, help="seconds before the first restart")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "rolling.json")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    acceptance.UP_SECONDS = 600.0  # type: ignore[misc]  # a busy machine is no failure here
    report: list[dict[str, Any]] = []
    for members in options.members or SESSIONS:
        with tempfile.TemporaryDirectory(prefix="rolling-", ignore_cleanup_errors=True) as folder:
            report.append(measure(members, options.workers, options.rate, options.calm, options.seed, Path(folder)))
        sys.stdout.write(json.dumps(report[-1]) + "\n")
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return int(any(each["missing"] for each in report))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
