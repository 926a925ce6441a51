"""CPU time of the whole accounts job for each request, on a real broker: `python tests/benchmarks/accounts_job.py`.

Fetch, decode, step, contributions, windows, rows and one transaction a checkpoint, in one process pinned to one core;
the broker and the producer run on the others. Synthetic requests of the product's own size: z20k (20,000 accounts by
Zipf's law and a hot key with 30 % of the traffic), or uniform. Writes JSON to stdout. ``floor`` is the same topic read
by confluent-kafka and decoded by msgspec alone, in the same run.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from detection.config import DetectionConfig
from schemas.request_event import RequestEvent, Sketch
from schemas.topics import REQUESTS, TOPICS
from services.adapters.clock import SystemClock
from services.adapters.embedded import EmbeddedKafka
from services.adapters.kafka.client import client_config, producer_config
from services.adapters.kafka.topics import ClusterTopics
from services.bootstrap import load_references
from services.settings import Settings
from services.telemetry.logs import configure_logs
from services.telemetry.metrics import Metrics
from stream_jobs.accounts.job import accounts_job
from stream_jobs.engine.worker import Worker, WorkerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTITIONS = 8
HOT_SHARE = 0.3


def requests(count: int, accounts: int, rate: float, *, zipf: bool, begin_ms: int) -> Iterator[tuple[bytes, bytes]]:
    """Give keys and values of requests at ``rate`` a second of event time, 2 % of them out of order."""
    draw = np.random.default_rng(1)
    if zipf:
        weights = 1.0 / np.arange(1, accounts + 1)
        who = draw.choice(accounts, count, p=weights / weights.sum())
        who[draw.random(count) < HOT_SHARE] = 0
    else:
        who = draw.integers(0, accounts, count)
    late = np.where(draw.random(count) < 0.02, draw.integers(0, 6000, count), draw.integers(0, 300, count))
    times = begin_ms + (np.arange(count) * (1000 / rate)).astype(np.int64) - late
    names = [f"{value:016x}" for value in draw.integers(1, 1 << 62, accounts).tolist()]
    models = ("teacher-large", "teacher-small", "chat-1", "chat-2")
    encode = msgspec.json.Encoder().encode
    for place, (account, moment) in enumerate(zip(who.tolist(), times.tolist(), strict=True)):
        ladder = bytearray(draw.bytes(72))
        if place % 3 == 0:
            # A third of the prompts follow one of the account's own templates.
            ladder[8:40] = account.to_bytes(8, "little") * 4
        ladder[:8] = (account % 90 + 1).to_bytes(8, "little")
        event = RequestEvent(
            event_id=f"{place:016x}-{account:08x}",
            time_unix_ms=moment,
            account=names[account],
            organization=names[account // 7] if account % 3 else "",
            gen_ai_request_model=models[account % 4],
            gen_ai_usage_input_tokens=int(draw.integers(10, 5000)),
            gen_ai_usage_output_tokens=int(draw.integers(1, 2000)),
            gen_ai_request_temperature=(0.0, 0.7, 1.0, None)[account % 4],
            gen_ai_response_finish_reasons=["stop"],
            duration_ms=900,
            client_family="openai-python",
            client_address=names[(account * 7) % accounts],
            client_network=names[(account * 11) % max(accounts // 4, 1)],
            multi_turn=place % 2 == 0,
            sketch=Sketch(
                ladder=bytes(ladder),
                projection=draw.bytes(32),
                boundaries=draw.bytes(16),
                last_turn=draw.bytes(8).hex(),
                response=draw.bytes(8).hex(),
            ),
        )
        yield names[account].encode(), encode(event)


def fill(servers: str, options: argparse.Namespace) -> int:
    """Write the requests; give their mean size in bytes."""
    producer = Producer(producer_config(Settings(), servers) | {"queue.buffering.max.messages": 500_000})
    span_ms = int(options.events / options.rate * 1000)
    begin = SystemClock().now_ms() - span_ms
    size = 0
    for key, value in requests(
        options.events, options.accounts, options.rate, zipf=not options.uniform, begin_ms=begin
    ):
        size += len(value)
        while True:
            try:
                producer.produce(REQUESTS.name, value, key)
            except BufferError:
                producer.poll(0.05)
            else:
                break
    if producer.flush(60):
        raise SystemExit("the broker did not take the requests")
    return size // int(options.events)


def floor(servers: str) -> float:
    """Read and decode alone: CPU in us for each request."""
    config = {"group.id": "floor", "enable.partition.eof": True, "auto.offset.reset": "earliest", "check.crcs": False}
    consumer = Consumer(client_config(Settings(), servers) | config)
    consumer.assign([TopicPartition(REQUESTS.name, number, 0) for number in range(PARTITIONS)])
    decode = msgspec.json.Decoder(RequestEvent).decode
    left, count, begun = PARTITIONS, 0, time.process_time()
    while left:
        values = []
        for message in consumer.consume(10_000, 0.1):
            error = message.error()
            if error is None:
                values.append(message.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:
                left -= 1
        count += len(list(map(decode, values)))
    spent = time.process_time() - begun
    consumer.close()
    return 1e6 * spent / count


class Until:
    """Tells the loop to stop once so many records are applied; its checkpoint and drain are part of the figure."""

    def __init__(self, metrics: Metrics, events: int) -> None:
        self._counter: Any = metrics.counter("stillwatch_events_total", job="accounts")
        self._events = events
        self.first_cpu: float | None = None
        self.first_wall = 0.0

    def is_set(self) -> bool:
        """Compare, and note when the first record was there."""
        applied = self._counter._value.get()
        if applied and self.first_cpu is None:
            self.first_cpu, self.first_wall = time.process_time(), time.monotonic()
        return bool(applied >= self._events)


def run(servers: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one worker over everything that is there."""
    settings = Settings()
    metrics = Metrics()
    job = accounts_job(DetectionConfig(), load_references(settings))
    loop = WorkerOptions(checkpoint_seconds=options.checkpoint)
    consumer, producer = client_config(settings, servers), producer_config(settings, servers)
    worker = Worker(job, loop, consumer, producer, metrics, SystemClock())
    until = Until(metrics, options.events)
    begun_cpu, begun = time.process_time(), time.monotonic()
    worker.run(until)
    cpu, wall = time.process_time() - begun_cpu, time.monotonic() - (until.first_wall or begun)
    per_event: dict[str, float] = {
        stage: round(1e6 * spent / options.events, 2) for stage, spent in worker.timer.seconds.items()
    }
    per_event["client threads"] = round(1e6 * cpu / options.events - sum(per_event.values()), 2)
    return {
        "cpu_us_per_event": round(1e6 * cpu / options.events, 2),
        "events_per_second": round(options.events / wall),
        "stages": per_event,
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--uniform", action="store_true")
    parser.add_argument("--rate", type=float, default=2_000.0, help="requests a second of event time")
    parser.add_argument("--checkpoint", type=float, default=5.0, help="seconds")
    parser.add_argument("--core", type=int, default=0)
    options = parser.parse_args()
    configure_logs("bench", "warning", "json")
    with tempfile.TemporaryDirectory() as folder, EmbeddedKafka(Path(folder)) as broker:
        servers = broker.bootstrap_servers
        ClusterTopics({"bootstrap.servers": servers}, TOPICS, PARTITIONS, 1).apply()
        size = fill(servers, options)
        # The broker stays where it is: only this process is measured.
        os.sched_setaffinity(0, {options.core})
        gc.freeze()
        gc.set_threshold(200_000, 20, 100)
        figures = {"events": options.events, "accounts": options.accounts, "bytes": size, "uniform": options.uniform}
        lowest = floor(servers)
        figures |= {"floor_cpu_us_per_event": round(lowest, 2)} | run(servers, options)
        print(json.dumps(figures, indent=2))  # noqa: T201 - its purpose


if __name__ == "__main__":
    main()
