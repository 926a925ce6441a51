"""How long a worker takes to be ready with a million accounts: the state topic filled, then the worker's own word."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

import broker
import numpy as np
from confluent_kafka import Producer
from growth import requests
from measure import ROOT, started

from detection.config import DetectionConfig
from schemas.topics import ACCOUNTS_STATE
from services.adapters.clock import SystemClock
from services.adapters.kafka.client import producer_config
from services.settings import Settings
from stream_jobs.accounts.job import AccountsTask
from stream_jobs.engine.partition import Partition

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK: Final = 50_000


def fill(servers: str, width: int, accounts: int) -> int:
    """Write the state of so many accounts, one to three requests each; give the bytes of their rows."""
    producer = Producer(producer_config(Settings(), servers) | {"log_level": 2})
    config = DetectionConfig()
    size = 0
    begin = SystemClock().now_ms() - accounts * 30
    for number in range(width):
        task = AccountsTask(config, None, number, width)
        partition = Partition(number, task, 0.5)
        step = task._step
        mine = np.arange(number, accounts, width)
        read = 0
        for times in (1, 2, 3):
            for start in range(0, len(mine) // times, _CHUNK):
                who = mine[: len(mine) // times][start : start + _CHUNK]
                step.apply(requests(who, begin + read * 10, read), np.arange(read, read + len(who)))
                read += len(who)
                task.take()
        partition.read = {"requests": 0}
        for key, value in zip(*partition.rows(), strict=True):
            size += len(value or b"")
            while True:
                try:
                    producer.produce(ACCOUNTS_STATE.name, value, key, number)
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
        sys.stderr.write(f"recovery: partition {number} written\n")
    producer.flush(120)
    return size


def recover(servers: str, width: int, core: int, folder: Path, accounts: int) -> dict[str, float]:
    """Write the state, start a worker, and wait until it says that it is ready."""
    broker.prepare(servers, width, requests=True)
    size = fill(servers, width, accounts)
    environment = {
        "PYTHONPATH": str(ROOT),
        "STILLWATCH_BASE_DIR": str(folder),
        "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": servers,
        "STILLWATCH_LOG_FORMAT": "json",
    }
    with started([sys.executable, "-m", "stream_jobs.accounts"], environment, core) as running:
        found: list[dict[str, float]] = []

        def ready() -> bool:
            lines = running.log.read_text(encoding="utf-8", errors="replace").splitlines()
            found.extend(json.loads(line) for line in lines if line.startswith("{") and "partitions.assigned" in line)
            return bool(found)

        running.wait(ready)
        return {
            "accounts": accounts,
            "seconds": found[-1]["seconds"],
            "records": found[-1]["records"],
            "row_bytes": size / accounts,
            "megabytes": running.peak_megabytes(),
        }
