"""CPU of the accounts job for each event, beside a plain Faust agent with River: one broker, one run, one pinned core.

`python tests/benchmarks/accounts_vs_faust [--events 200000] [--prefix 20000] [--runs 3] [--json]`; docs/benchmarks.md
tells what is measured and what is not.
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
import time
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from check import TOLERANCE, compare, ours, peers
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from events import stream
from measure import HERE, ROOT, BenchError, Committed, Figure, pinned, run_job
from rich.console import Console
from rich.table import Table

from schemas.topics import (
    ACCOUNT_WINDOWS,
    ACCOUNTS_STATE,
    FINDINGS,
    POOL_CONTRIBUTIONS,
    REQUESTS,
    TOPICS,
)
from services.adapters.clock import SystemClock
from services.adapters.embedded import EmbeddedKafka
from services.adapters.kafka.client import producer_config
from services.adapters.kafka.topics import ClusterTopics, TopicsError
from services.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS_GROUP: Final = "stillwatch-accounts"
WRITTEN: Final = (ACCOUNTS_STATE, POOL_CONTRIBUTIONS, ACCOUNT_WINDOWS, FINDINGS)
NAMES: Final = {
    "floor": "confluent + msgspec, nothing else",
    "stillwatch": "stream_jobs.accounts, transactions and checkpoints",
    "faust_window": "plain Faust, features and River once for each window",
    "faust": "plain Faust, features and River for each event",
}


@dataclass
class Bench:
    """One broker with its topics, and the figures so far."""

    servers: str
    core: int
    width: int
    checkpoint_seconds: float
    folder: Path
    figures: dict[str, list[Figure]] = field(default_factory=dict)
    peer_runs: int = 0

    def prepare(self) -> None:
        """Give the accounts job empty topics of its own and no past."""
        admin = AdminClient({"bootstrap.servers": self.servers})
        for name, answer in admin.delete_topics([topic.name for topic in WRITTEN]).items():
            try:
                answer.result()
            except KafkaException as error:
                if error.args[0].name() != "UNKNOWN_TOPIC_OR_PART":
                    raise BenchError(f"{name} cannot be deleted") from error
        # A topic goes some time after the broker has said so.
        deadline = time.monotonic() + 30
        while {topic.name for topic in WRITTEN} & admin.list_topics(timeout=10).topics.keys():
            if time.monotonic() > deadline:
                raise BenchError("the broker keeps topics that were deleted")
            time.sleep(0.1)
        self._forget_group(admin)
        self._create_topics()

    def _create_topics(self) -> None:
        topics = ClusterTopics({"bootstrap.servers": self.servers}, TOPICS, self.width, 1)
        for _ in range(10):
            try:
                topics.apply()
            except TopicsError:
                time.sleep(0.5)
            else:
                return
        raise BenchError("the broker does not create topics")

    def _forget_group(self, admin: AdminClient) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                admin.delete_consumer_groups([OURS_GROUP])[OURS_GROUP].result()
            except KafkaException as error:
                if error.args[0].name() == "GROUP_ID_NOT_FOUND":
                    return
                # The broker makes the topic of the groups at the first question, and needs a moment.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def produce(self, records: Iterator[tuple[bytes, bytes]]) -> None:
        """Write requests as a gateway does."""
        producer = Producer(producer_config(Settings(), self.servers) | {"log_level": 2})
        for number, (key, value) in enumerate(records):
            producer.produce(REQUESTS.name, value, key)
            if not number % 5_000:
                producer.flush(30)
        if producer.flush(60):
            raise BenchError("the broker did not take the requests")

    def run_ours(self, events: int, warm: int) -> Figure:
        """Run the product's own worker over the whole topic."""
        self.prepare()
        environment = {
            "PYTHONPATH": str(ROOT),
            "STILLWATCH_BASE_DIR": str(self.folder),
            "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": self.servers,
            "STILLWATCH_CHECKPOINT_SECONDS": str(self.checkpoint_seconds),
        }
        committed = Committed(self.servers, OURS_GROUP, REQUESTS.name, self.width)
        return run_job(["-m", "stream_jobs.accounts"], environment, self.core, committed, events, warm)

    def run_peer(self, mode: str, events: int, warm: int) -> tuple[Figure, str]:
        """Run the Faust agent under a name of its own, so that it starts without a past."""
        self.peer_runs += 1
        app_id = f"bench-faust-{mode}-{self.peer_runs}"
        marks = self.folder / f"{app_id}.marks"
        environment = {
            "PYTHONPATH": str(ROOT),
            "PEER_MARKS": str(marks),
            "PEER_MARKED": f"{warm},{events}",
            "PEER_ID": app_id,
            "PEER_MODE": mode,
            "PEER_BROKER": f"kafka://{self.servers}",
            "PEER_PARTITIONS": str(self.width),
            "PEER_DATA": str(self.folder / app_id),
        }
        admin = AdminClient({"bootstrap.servers": self.servers})
        admin.create_topics([NewTopic(f"{app_id}-windows", self.width, 1)])[f"{app_id}-windows"].result()
        committed = Committed(self.servers, app_id, REQUESTS.name, self.width)
        command = [str(HERE / "faust_peer.py"), "worker", "-l", "warn", "--without-web"]
        return run_job(command, environment, self.core, committed, events, warm, marks), app_id

    def run_floor(self, events: int, warm: int) -> Figure:
        """Read and decode, and nothing else."""
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
        self.figures.setdefault(name, []).append(figure)
        sys.stderr.write(f"{name}: {figure.cpu_us:.2f} us/event over {figure.events} events\n")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything; give the report."""
    cores = sorted(os.sched_getaffinity(0))
    others = cores[:-1] or cores
    (ROOT / "build").mkdir(exist_ok=True)
    with pinned(others):
        broker = EmbeddedKafka(folder).start()
    try:
        bench = Bench(broker.bootstrap_servers, cores[-1], options.partitions, options.checkpoint, folder)
        os.sched_setaffinity(0, others)
        checked = _run_all(bench, options)
    finally:
        broker.stop()
    medians = {name: statistics.median(run.cpu_us for run in runs) for name, runs in bench.figures.items()}
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
        "cpu_us_per_event": medians,
        "ratio": {name: cpu / medians["stillwatch"] for name, cpu in medians.items() if name != "stillwatch"},
        "same_job": checked,
        "runs_of": {name: [asdict(run) for run in runs] for name, runs in bench.figures.items()},
    }


def _run_all(bench: Bench, options: argparse.Namespace) -> dict[str, float]:
    bench.prepare()
    span_ms = int(1000 * options.events / options.rate)
    records = stream(options.events, SystemClock().now_ms() - span_ms, options.rate)
    # First the prefix is all that there is: both sides count it, and the peers are measured on it.
    bench.produce(islice(records, options.prefix))
    bench.run_ours(options.prefix, 0)
    mine = ours(bench.servers)
    checked: dict[str, float] = {}
    for mode, name in (("event", "faust"), ("window", "faust_window")):
        for _ in range(options.runs):
            figure, app_id = bench.run_peer(mode, options.prefix, options.prefix // 4)
            bench.note(name, figure)
            checked = compare(mine, peers(bench.servers, app_id))
            _refuse_other_job(checked, options.prefix)
    bench.produce(records)
    for _ in range(options.runs):
        bench.note("floor", bench.run_floor(options.events, options.events // 4))
        bench.note("stillwatch", bench.run_ours(options.events, options.events // 4))
        counted = sum(line[0] for line in ours(bench.servers).values())
        if counted != options.events:
            raise BenchError(f"the accounts job counted {counted:.0f} of {options.events} requests")
    return checked


def _refuse_other_job(checked: dict[str, float], events: int) -> None:
    wrong = checked["accounts_on_one_side_only"] + checked["accounts_that_differ"]
    if wrong or checked["requests"] != events or checked["largest_feature_difference"] > TOLERANCE:
        raise BenchError(f"the two sides did not do the same job: {checked}")


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    table = Table("", "CPU us/event", "range", "to stillwatch", "events/s of one core", "peak MB")
    for name, told in NAMES.items():
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
    console.print(report["same_job"])


def main() -> None:
    """Measure, print, and write ``build/bench_accounts.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=200_000, help="of the accounts job and of the floor")
    parser.add_argument("--prefix", type=int, default=20_000, help="of them, for the Faust peers")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--checkpoint", type=float, default=1.0, help="seconds between transactions")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second of event time")
    parser.add_argument("--json", action="store_true", help="print the report instead of the table")
    options = parser.parse_args()
    # A stop by signal leaves no process either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        report = measure(options, Path(folder))
    text = json.dumps(report, indent=2)
    (ROOT / "build" / "bench_accounts.json").write_text(text + "\n", encoding="utf-8")
    if options.json:
        sys.stdout.write(text + "\n")
    else:
        show(report)


if __name__ == "__main__":
    main()
