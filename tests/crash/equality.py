"""``python -m tests.crash.equality``: live equals backtest equals oracle, byte for byte, however the stream is cut.

For each cutting the records are put in an order of its own, displaced within the lateness bound, and sent once. The
real jobs read them in pieces of random length with random times between checkpoints. Then three things are compared:
rows, windows, contributions and findings with the oracle's, and the alerts that the findings lead to with those of the
backtest of the same records.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from detection.config import Clocking, DetectionConfig
from detection.incidents.step import IncidentsStep
from detection.outcomes import Finding
from schemas.account_attributes import AccountAttributes
from schemas.alert import encode_alert
from schemas.finding import decode_finding
from schemas.request_event import RequestEvent
from schemas.topics import FINDINGS
from services.adapters.clock import SystemClock
from services.adapters.kafka.client import producer_config
from services.adapters.kafka.producer import KafkaProducer
from services.evaluation.backtest import Backtest
from services.gateway.replaying import drain_partitions
from services.settings import Settings
from tests.crash.cell import JOBS, ROOT, Cell
from tests.crash.oracle import judge, shipped_references
from tests.crash.traffic import Keyed, Load, cloned_attributes, cloned_requests, simulated_day

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.outcomes import Alert
    from tests.crash.oracle import Verdict

# As shipped, but for the idle clock: in a replay at full speed it would wait for half a minute of silence.
CONFIG: Final = DetectionConfig(clocking=Clocking(idle_ms=3_000))
_FAST: Final = 20_000.0  # Requests a second: as fast as the broker takes them.


class Scenario(NamedTuple):
    """Attributes and requests, as keys and values, in order of time."""

    attributes: list[Keyed]
    requests: list[Keyed]


def read_scenario(records: Path, accounts: Path) -> Scenario:
    """Read what ``stillwatch simulate --format events`` wrote."""

    def keyed(path: Path, kind: Any) -> list[Keyed]:
        lines = path.read_bytes().splitlines()
        return [Keyed(msgspec.json.decode(line, type=kind).account.encode(), line) for line in lines]

    return Scenario(keyed(accounts, AccountAttributes), keyed(records, RequestEvent))


def cloned_scenario(clones: int, dice: Random) -> Scenario:
    """Make a simulated day of so many clones, some 2,800 requests of 119 accounts each."""
    attributes, day = simulated_day()
    readable = cloned_requests(day, clones, dice, poison_share=0.0)
    return Scenario(cloned_attributes(attributes, clones), sorted(readable, key=_time_of))


def shuffled(requests: Sequence[Keyed], dice: Random) -> list[Keyed]:
    """Displace each request by less than the lateness bound, in event time."""
    bound = CONFIG.clocking.lateness_ms
    return sorted(requests, key=lambda record: _time_of(record) + dice.randrange(bound))


def _time_of(record: Keyed) -> int:
    return int(msgspec.json.decode(record.value)["time_unix_ms"])


def compare(scenario: Scenario, folder: Path, dice: Random, place: int) -> dict[str, Any]:
    """Play the scenario once through the real jobs, cut anew; gives what was compared and how it came out."""
    began = time.monotonic()
    requests = list(scenario.requests) if not place else shuffled(scenario.requests, dice)
    cell = Cell(folder, config=CONFIG)
    cutting = {job: (dice.choice((3, 50, 400, 2_000, 10_000)), dice.choice((0.1, 0.4, 1.0, 3.0))) for job in JOBS}
    try:
        cell.open()
        load = Load(cell.broker.bootstrap_servers, requests, _FAST, dice)
        load.attributes(scenario.attributes)
        load.start()
        for job, (most, seconds) in cutting.items():
            cell.start(job, longest_chunk=most, STILLWATCH_CHECKPOINT_SECONDS=str(seconds))
        while not load.over:
            time.sleep(0.1)
        load.finish()
        _drain(cell, requests)
        cell.settle(900)
        verdict = judge(cell, shipped_references(), dice)
        live, tested = _live_alerts(cell), _tested_alerts(scenario, requests, cell.partitions, dice)
    finally:
        cell.close()
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "shuffled": bool(place),
        "requests": len(requests),
        "longest_chunk_and_checkpoint_seconds": cutting,
        "alerts": len({alert.alert_id for alert in tested}),
        "revisions": len(tested),
        "alerts_equal": [encode_alert(alert) for alert in live] == [encode_alert(alert) for alert in tested],
        **_plain(verdict),
        "seconds": round(time.monotonic() - began, 1),
    }


def _drain(cell: Cell, requests: Sequence[Keyed]) -> None:
    """Close the last hops of every partition, as ``replay --drain`` does."""
    producer = KafkaProducer(producer_config(Settings(), cell.broker.bootstrap_servers))
    last = max(map(_time_of, requests))
    _, closes = drain_partitions(producer, last, CONFIG.clocking, SystemClock().now_ms(), "equality")
    if not closes:
        raise ValueError("the scenario must be over for an hour")


def _live_alerts(cell: Cell) -> list[Alert]:
    """Give the alerts that the findings on the topic lead to."""
    step = IncidentsStep(CONFIG, cell.partitions, cell.partitions)
    alerts: list[Alert] = []
    for record in cell.read(FINDINGS.name):
        found = decode_finding(record.value)
        if isinstance(found, Finding):
            step.add(found)
        else:
            step.closed(found.job, found.partition, found.hop)
            alerts += step.take()
    return alerts


def _tested_alerts(scenario: Scenario, requests: Sequence[Keyed], partitions: int, dice: Random) -> list[Alert]:
    backtest = Backtest(CONFIG, shipped_references(), partitions)
    backtest.tell([msgspec.json.decode(record.value, type=AccountAttributes) for record in scenario.attributes])
    events = [msgspec.json.decode(record.value, type=RequestEvent) for record in requests]
    return list(backtest.run(events, chunk=dice.randint(500, 10_000)))


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {
        "lost": verdict.lost,
        "wrong": verdict.wrong,
        "duplicates": verdict.duplicates,
        "compared": verdict.compared,
        "examples": verdict.examples,
    }


def exact(row: dict[str, Any]) -> bool:
    """Tell whether a cutting changed nothing."""
    return row["alerts_equal"] and not (row["lost"] or row["wrong"] or row["duplicates"])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.equality", description=__doc__)
    parser.add_argument("--seed", type=int, help="play a run again; without it a new seed is drawn and printed")
    parser.add_argument("--cuttings", type=int, default=5)
    parser.add_argument("--clones", type=int, default=22, help="of a simulated day, where no --records are given")
    parser.add_argument("--records", type=Path, help="events as `stillwatch simulate --format events` writes them")
    parser.add_argument("--accounts", type=Path, help="the file that simulate wrote beside it")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "equality.json")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else secrets.randbelow(10**9)
    sys.stderr.write(f"seed {seed}: play it again with --seed {seed}\n")
    dice = Random(seed)  # noqa: S311 - a trial must be repeatable
    scenario = (
        read_scenario(options.records, options.accounts) if options.records else cloned_scenario(options.clones, dice)
    )
    rows = []
    with tempfile.TemporaryDirectory(prefix="equality-", ignore_cleanup_errors=True) as scratch:
        for place in range(options.cuttings):
            row = compare(scenario, Path(scratch) / str(place), dice, place)
            rows.append(row)
            told = {
                name: row[name] for name in ("requests", "revisions", "alerts_equal", "lost", "wrong", "duplicates")
            }
            sys.stderr.write(f"cutting {place + 1}/{options.cuttings}: {told} in {row['seconds']} s\n")
            for example in row["examples"]:
                sys.stderr.write(f"  {example}\n")
    outcome = Counter(exact(row) for row in rows)
    report = {"seed": seed, "equal": outcome[True], "different": outcome[False], "cuttings": rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps({"equal": outcome[True], "different": outcome[False]}) + "\n")
    return int(outcome[False] > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
