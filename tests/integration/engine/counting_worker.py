"""A small real job on the engine, run by the tests as a process of its own: counts and sums by key and pane.

Its numbers depend on order and time as the product's do: a running watermark closes panes, late records count apart.
``FAULT`` in the environment names a point of the checkpoint at which the process kills or stops itself.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import stream_jobs.engine.worker as loop
from services.adapters.clock import SystemClock
from services.adapters.kafka.client import client_config, producer_config
from services.errors import StillwatchError
from services.settings import Settings
from services.telemetry.logs import configure_logs, get_logger
from services.telemetry.metrics import Metrics
from stream_jobs.engine.job import Heartbeats, Job, Output, Processed, Rejection, Source, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stream_jobs.engine.job import Batch
    from stream_jobs.engine.transaction import TransactionalWriter

PANE_MS = 1_000
LATE_MS = 200


class RowVersionError(StillwatchError):
    """A newer release wrote this row."""

    hint = "Let the newer release write the old form until every worker reads the new one."


class CountingTask:
    """Plain Python, record by record. Rows of version 2 know when their key was last seen; others do not."""

    def __init__(self, prefix: str, number: int) -> None:
        self._reads = int(os.environ.get("ROWS_READ", "1"))  # The newest version of rows that this release knows.
        self._writes = int(os.environ.get("ROWS_WRITTEN", "1"))
        self._prefix = prefix
        self._number = number
        self.rows: dict[bytes, dict[str, Any]] = {}
        self._dirty: set[bytes] = set()
        self._outputs: list[Output] = []
        self._high = -1
        self._closed = -1
        self._weights: dict[bytes, int] = {}

    def load_meta(self, raw: bytes) -> None:
        meta = json.loads(raw)
        self._high, self._closed = meta["high"], meta["closed"]

    def load(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        self.rows = {key: json.loads(value) for key, value in zip(keys, values, strict=True)}
        for key, row in self.rows.items():
            version = row.pop("v", 1)
            if version > self._reads:
                raise RowVersionError(f"a row of version {version}; this release reads up to {self._reads}")
            row.setdefault("last", 0)
            if version != self._writes:
                self._dirty.add(key)  # Written in the form that all of the job's workers can read.

    def resume(self, read: Mapping[str, int]) -> Mapping[str, int]:
        return read

    def process(self, batch: Batch) -> Processed:
        rejections = []
        accepted = None
        for index, (key, value) in enumerate(zip(batch.keys, batch.values, strict=True)):
            try:
                record = json.loads(value or b"")
            except ValueError:
                rejections.append(Rejection(index, "not_json", "the record is not JSON", "count.v1"))
                continue
            if batch.topic.endswith("attributes"):
                self._row(key or b"")["weight"] = record["weight"]
                continue
            accepted = max(accepted or 0, record["t"])
            if key is not None:
                self._count(key, record)
            self._advance(record["t"])
        return Processed(rejections, accepted)

    def _row(self, key: bytes) -> dict[str, Any]:
        self._dirty.add(key)
        return self.rows.setdefault(key, {"n": 0, "sum": 0, "late": 0, "weight": 1, "panes": {}, "last": 0})

    def _count(self, key: bytes, record: dict[str, int]) -> None:
        row = self._row(key)
        row["n"] += 1
        row["last"] = max(row["last"], record["t"])
        row["sum"] += record["x"] * row["weight"]
        pane = record["t"] // PANE_MS
        if pane <= self._closed:
            row["late"] += 1
        else:
            row["panes"][str(pane)] = row["panes"].get(str(pane), 0) + 1

    def _advance(self, time_ms: int) -> None:
        self._high = max(self._high, time_ms)
        closed = (self._high - LATE_MS) // PANE_MS - 1
        while self._closed < closed:
            ripe = sorted({int(pane) for row in self.rows.values() for pane in row["panes"]})
            self._closed = closed if not ripe else min(closed, ripe[0])
            for key in sorted(self.rows):
                count = self.rows[key]["panes"].pop(str(self._closed), 0)
                if count:
                    row = self._row(key)
                    value = [self._number, key.decode(), self._closed, count, row["n"], row["sum"], row["late"]]
                    self._outputs.append(Output(f"{self._prefix}-out", json.dumps(value).encode(), key))

    def take(self) -> list[Output]:
        taken, self._outputs = self._outputs, []
        return taken

    def dirty(self) -> tuple[list[bytes], list[bytes | None]]:
        keys = sorted(self._dirty)
        self._dirty.clear()
        return keys, [json.dumps(self._written(self.rows[key])).encode() for key in keys]

    def _written(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._writes == 1:
            return {name: value for name, value in row.items() if name != "last"}
        return {"v": self._writes, **row}

    def meta(self) -> bytes:
        return json.dumps({"high": self._high, "closed": self._closed}).encode()

    def status(self) -> TaskStatus:
        return TaskStatus(len(self.rows), self._closed * PANE_MS)


def make_job(prefix: str, idle_ms: int = 1_000) -> Job:
    """Topics are named by the prefix, so that tests do not meet."""
    return Job(
        name=prefix,
        sources=(Source(f"{prefix}-in"), Source(f"{prefix}-attributes", gaps=True, first=True)),
        others=(f"{prefix}-out",),
        state_topic=f"{prefix}-state",
        make_task=lambda number, _: CountingTask(prefix, number),
        heartbeats=Heartbeats(f"{prefix}-in", idle_ms, lambda time_ms: json.dumps({"t": time_ms}).encode()),
    )


class FaultyProducer:
    """Stands before librdkafka's producer and dies, or stops, at one point of a random checkpoint."""

    def __init__(self, inner: Any, fault: str) -> None:
        self._inner = inner
        self._signal = signal.SIGSTOP if fault.startswith("stop:") else signal.SIGKILL
        self._point = fault.partition(":")[2]
        self._left = random.randint(1, 6)  # noqa: S311 - where a trial dies is no secret
        self._produced = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def begin_transaction(self) -> None:
        self._left -= 1
        self._produced = 0
        self._fall("begin")
        self._inner.begin_transaction()

    def produce(self, *arguments: Any) -> None:
        self._inner.produce(*arguments)
        self._produced += 1
        if self._produced == 20:
            self._inner.poll(0.05)
            self._fall("rows")

    def flush(self, timeout: float) -> int:
        self._fall("before_flush")
        return int(self._inner.flush(timeout))

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        self._fall("before_offsets")
        self._inner.send_offsets_to_transaction(*arguments)

    def commit_transaction(self, timeout: float) -> None:
        self._fall("before_commit")
        self._inner.commit_transaction(timeout)
        self._fall("after_commit")

    def _fall(self, point: str) -> None:
        if self._left <= 0 and point == self._point:
            self._point = ""
            os.kill(os.getpid(), self._signal)


def main() -> None:
    prefix, index, servers = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    configure_logs(f"{prefix}-{index}", "debug", "json")
    settings = Settings()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    fault = os.environ.get("FAULT", "")
    if fault.endswith(":recovery"):
        threading.Timer(random.random() * 0.5, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()  # noqa: S311 - as above
    try:
        worker = loop.Worker(
            make_job(prefix),
            loop.WorkerOptions(
                worker_index=index,
                checkpoint_seconds=float(os.environ.get("CHECKPOINT", "0.2")),
                poll_seconds=0.02,
                session_timeout_ms=int(os.environ.get("SESSION_MS", "6000")),
                static_member="STATIC" in os.environ,
                dead_letter_ratio=float(os.environ.get("RATIO", "0.5")),
            ),
            client_config(settings, servers),
            producer_config(settings, servers),
            Metrics(),
            SystemClock(),
        )
        writer: TransactionalWriter = worker._writer
        if fault:
            writer._producer = FaultyProducer(writer._producer, fault)  # type: ignore[assignment]  # by its methods
        worker.run(stop)
    except StillwatchError as error:
        get_logger().error("worker.failed", reason=str(error), kind=type(error).__name__)
        sys.stderr.flush()
        os._exit(3)


if __name__ == "__main__":
    main()
