"""From an event to its alert's row in Postgres, under load, and how each setting moves it.

`python -m tests.benchmarks.alert_latency [--case NAME ...]`; writes build/latency.json. The whole product runs as its
users run it (`stillwatch up`), with panes of five seconds. Beside the load, accounts are brought over a detector's edge
at random moments; what is measured is the time from handing the last event of each to the producer until
``stored_at`` of the alert's row, both by this machine's clock. Two ways through the product:

- ``probe``: one account tries logit_bias vectors; the accounts job tells. Requests, findings, alerts, row.
- ``link``: four accounts send the same prompts within moments; the pools job tells. One more topic and checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from confluent_kafka import Producer

from detection.config import Clocking, DetectionConfig, IncidentPolicy, LinkLane, ProbeLane
from detection.ids import mix
from schemas.request_event import RequestEvent, Sketch
from schemas.topics import REQUESTS
from services.adapters.clock import SystemClock
from services.adapters.kafka.client import producer_config
from services.settings import Settings
from tests.acceptance import product as acceptance
from tests.acceptance.product import ROOT, Product, wait_until
from tests.crash.soak import BURST, CLONES, LiveLoad
from tests.crash.traffic import cloned_attributes, simulated_day

PARTITIONS: Final = 8
_MANY: Final = 1_000_000
_VECTORS: Final = 20
_COINCIDENCES: Final = 3
_LINKED: Final = 4
_KINDS: Final = ("probe", "link")


class Case(NamedTuple):
    """One setting of what may move the figure. Times in ms; the checkpoint in seconds; load as a share."""

    name: str
    hop: int = 5_000
    lateness: int = 1_000
    idle: int = 2_000
    checkpoint: float = 1.0
    load: float = 0.5


CASES: Final = (
    Case("base"),
    Case("checkpoint_5s", checkpoint=5.0),
    Case("checkpoint_0.2s", checkpoint=0.2),
    Case("pane_1s", hop=1_000),
    Case("pane_15s", hop=15_000),
    Case("lateness_5s", lateness=5_000),
    Case("load_10", load=0.1),
    Case("load_80", load=0.8),
)


class Planter:
    """Sends what makes alerts, one subject at a time, and keeps when the last event of each was handed over."""

    def __init__(self, servers: str, dice: Random) -> None:
        self._producer = Producer(producer_config(Settings(), servers) | {"log_level": 0, "linger.ms": 5})
        self._dice = dice
        self._clock = SystemClock()
        self.moments: dict[str, dict[str, int]] = {kind: {} for kind in _KINDS}

    def probe(self) -> None:
        """Bring an account over the edge of lane B."""
        account = self._identifier()
        for _ in range(_VECTORS):
            self._send(account, logprobs=True, logit_bias=self._identifier(), logit_bias_count=1)
        self.moments["probe"][account] = self._clock.now_ms()

    def link(self) -> None:
        """Bring four accounts over the edge of lane G: the same prompts, at one moment."""
        accounts = [self._identifier() for _ in range(_LINKED)]
        for _ in range(_COINCIDENCES + 1):
            turn = self._looked_at()
            for account in accounts:
                sketch = Sketch(ladder=self._dice.randbytes(72), projection=self._dice.randbytes(32), last_turn=turn)
                self._send(account, gen_ai_usage_output_tokens=200, sketch=sketch)
        now = self._clock.now_ms()
        self.moments["link"] |= dict.fromkeys(accounts, now)

    def _identifier(self) -> str:
        return f"{self._dice.getrandbits(64) | 1:016x}"

    def _looked_at(self) -> str:
        """Draw a prompt's hash among the half that lane G looks at."""
        while True:
            turn = self._dice.getrandbits(64) | 1
            if not int(mix(np.array([turn], np.uint64))[0]) & 1:
                return f"{turn:016x}"

    def _send(self, account: str, **other: Any) -> None:
        event = RequestEvent(
            event_id=f"{self._dice.getrandbits(128):032x}",
            time_unix_ms=self._clock.now_ms(),
            account=account,
            # Accounts that probe with the same settings are one incident: each has its own here.
            gen_ai_request_model=f"model-{account}",
            **other,
        )
        self._producer.produce(REQUESTS.name, msgspec.json.encode(event), account.encode())
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until the broker has everything."""
        if self._producer.flush(60):
            raise TimeoutError("the broker does not take the events")


def configuration(case: Case) -> DetectionConfig:
    """Give the case's clock, and budgets that hold no alert back."""
    return DetectionConfig(
        clocking=Clocking(hop_ms=case.hop, lateness_ms=min(case.lateness, 3 * case.hop), idle_ms=case.idle),
        probes=ProbeLane(vectors=_VECTORS, alerts_per_hour=_MANY),
        links=LinkLane(coincidences=_COINCIDENCES, component=_LINKED, alerts_per_hour=_MANY),
        incidents=IncidentPolicy(alerts_per_hour=_MANY),
    )


def measure(case: Case, capacity: float, seconds: float, seed: int, folder: Path) -> dict[str, Any]:
    """Run the product once in this case; ``capacity`` is what it takes a second, 0 to measure it first."""
    dice = Random(seed)  # noqa: S311 - a trial must be repeatable
    product = Product(folder, partitions=PARTITIONS)
    config = folder / "detection.json"
    config.write_bytes(msgspec.json.encode(configuration(case)))
    product.environment |= {
        "STILLWATCH_DETECTION_CONFIG": str(config),
        "STILLWATCH_CHECKPOINT_SECONDS": str(case.checkpoint),
        "STILLWATCH_LOG_LEVEL": "warning",
    }
    attributes, day = simulated_day()
    product.start()
    try:
        product.import_accounts(record.value for record in cloned_attributes(attributes, CLONES))
        load = LiveLoad(product.kafka, day, dice)
        load.send(BURST // 10)
        load.flush()
        _wait_for_no_lag(product)
        if not capacity:
            load.send(BURST)
            load.flush()
            began = time.monotonic()
            _wait_for_no_lag(product)
            capacity = BURST / (time.monotonic() - began)
        planter = Planter(product.kafka, dice)
        sending = load.keep_on(capacity * case.load)
        time.sleep(10)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            planter.probe()
            planter.link()
            time.sleep(dice.uniform(0.2, 0.6))
        planter.flush()
        wanted = sum(map(len, planter.moments.values()))
        stored: dict[str, int] = {}

        def all_there() -> bool:
            stored.update(stored_moments(product, planter))
            return len(stored) == wanted

        try:
            wait_until(all_there, 60 + 4 * case.hop / 1000, "every alert is stored")
        finally:
            sys.stderr.write(f"{case.name}: {len(stored)} of {wanted} accounts are in an alert\n")
        load.halt()
        sending.join()
        product.stop()
    finally:
        product.kill()
    told: dict[str, Any] = {"case": case._asdict(), "capacity_per_second": round(capacity)}
    told |= {"rate_per_second": round(capacity * case.load), "sent": load.sent}
    for kind in _KINDS:
        waits = sorted((stored[account] - moment) / 1000 for account, moment in planter.moments[kind].items())
        told[kind] = {
            "alerts": len(waits),
            "p50": quantile(waits, 0.5),
            "p99": quantile(waits, 0.99),
            "most": waits[-1],
        }
    return told


def stored_moments(product: Product, planter: Planter) -> dict[str, int]:
    """Give, for each planted account that is a member of an alert, when the first such revision was stored, in ms."""
    rows = product.rows("SELECT record, (extract(epoch FROM stored_at) * 1000)::bigint FROM alert_revisions ORDER BY 2")
    wanted = {account for moments in planter.moments.values() for account in moments}
    found: dict[str, int] = {}
    for record, moment in rows:
        for member in msgspec.json.decode(bytes(record)).get("members", ()):
            if member["account"] in wanted:
                found.setdefault(member["account"], moment)
    return found


def _wait_for_no_lag(product: Product) -> None:
    def none() -> bool:
        return not any(sum(product.gauge(job, "stillwatch_consumer_lag")) for job in ("accounts", "pools"))

    wait_until(none, 900, "the jobs have caught up")


def quantile(ordered: list[float], share: float) -> float:
    """Give a quantile of what is sorted, as one of its members."""
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 2)


def main(arguments: list[str]) -> int:
    """Measure the cases one after the other, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="may be repeated")
    parser.add_argument("--seconds", type=float, default=45.0, help="of planting in each case")
    parser.add_argument(
        "--capacity", type=float, default=0.0, help="requests a second; 0 measures it in the first case"
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "latency.json")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    acceptance.UP_SECONDS = 600.0  # type: ignore[misc]  # a busy machine is no failure here
    report: dict[str, Any] = {"seed": options.seed, "cases": []}
    capacity = options.capacity
    for case in CASES:
        if options.case and case.name not in options.case:
            continue
        with tempfile.TemporaryDirectory(prefix="latency-", ignore_cleanup_errors=True) as folder:
            told = measure(case, capacity, options.seconds, options.seed, Path(folder))
        capacity = told["capacity_per_second"]
        report["cases"].append(told)
        sys.stderr.write(json.dumps(told) + "\n")
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
