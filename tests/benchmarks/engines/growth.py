"""How cost and memory grow with accounts and partitions: the steps of one worker alone, without Kafka and JSON.

`growth.py ACCOUNTS PARTITIONS [hot]` measures one point in a process of its own and prints JSON. Every account has
its row before the measurement; then each partition gets chunks of a share of 10,000 requests, as one poll brings them.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from measure import ROOT, pinned

from detection.accounts.step import AccountsStep
from detection.columns import EVENT, StructuredArray
from detection.config import DetectionConfig
from detection.ids import mix

POINTS: Final = ((10_000, 8), (100_000, 8), (500_000, 8), (1_000_000, 8), (100_000, 16), (100_000, 64))
_POLL: Final = 10_000
_POLLS: Final = 20
_BEGIN: Final = 1_760_000_000_000


def requests(who: np.ndarray[Any, np.dtype[np.int64]], begin_ms: int, seed: int) -> StructuredArray:
    """Make requests of these accounts, 100 a second, with mostly new prompts."""
    draw = np.random.default_rng(seed)
    count = len(who)
    events = np.zeros(count, EVENT)
    events["time"] = begin_ms + np.arange(count) * 10 - draw.integers(0, 2000, count)
    events["account"] = mix(who.astype(np.uint64))
    for name, many in (("configuration", 40), ("client", 7), ("network", 5000), ("address", 9000), ("system", 90)):
        events[name] = mix((who % many).astype(np.uint64))
    for name in ("prefix", "suffix", "boundaries"):
        events[name] = draw.integers(1, 1 << 62, (count, 4))
    for name in ("last_turn", "response"):
        events[name] = draw.integers(1, 1 << 62, count)
    events["flags"] = np.where(draw.random(count) < 0.3, 1 << 14, 0)
    events["input_tokens"], events["output_tokens"] = draw.integers(10, 5000, count), draw.integers(1, 2000, count)
    events["projection"] = draw.integers(-100, 100, (count, 32))
    return events


def point(accounts: int, partitions: int, *, hot: bool) -> dict[str, float]:
    """Measure one worker with so many accounts in so many partitions."""
    steps = [AccountsStep(DetectionConfig(), None, number) for number in range(partitions)]
    read = [0] * partitions
    clock = _BEGIN

    def poll(who: np.ndarray[Any, np.dtype[np.int64]], seed: int) -> float:
        nonlocal clock
        events = requests(who, clock, seed)
        clock += len(who) * 10
        owner = (events["account"] >> np.uint64(32)) % np.uint64(partitions)
        parts = [events[owner == number] for number in range(partitions)]
        begun = time.process_time()
        for number, part in enumerate(parts):
            steps[number].apply(part, np.arange(read[number], read[number] + len(part)))
            read[number] += len(part)
        for step in steps:
            step.take()
            step.dirty()
        return time.process_time() - begun

    for start in range(0, accounts, 5 * _POLL):
        poll(np.arange(start, min(start + 5 * _POLL, accounts)), start)
    draw = np.random.default_rng(1)
    spent = 0.0
    for number in range(_POLLS):
        who = draw.integers(0, accounts, _POLL)
        if hot:
            who[draw.random(_POLL) < 1 / 2] = 0
        spent += poll(who, -number % 1000)
    return {
        "accounts": accounts,
        "partitions": partitions,
        "hot": hot,
        "cpu_us": 1e6 * spent / (_POLLS * _POLL),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def curve(core: int) -> list[dict[str, float]]:
    """Measure every point, and a hot key with half of the traffic."""
    told = []
    for accounts, partitions, hot in (*((*one, False) for one in POINTS), (100_000, 8, True)):
        with pinned([core]):
            ended = subprocess.run(
                [sys.executable, __file__, str(accounts), str(partitions), *(["hot"] if hot else [])],
                cwd=ROOT,
                env={"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"},
                check=True,
                capture_output=True,
                text=True,
            )
        told.append(json.loads(ended.stdout))
        sys.stderr.write(f"growth: {ended.stdout}")
    return told


if __name__ == "__main__":
    print(json.dumps(point(int(sys.argv[1]), int(sys.argv[2]), hot=sys.argv[3:] == ["hot"])))  # noqa: T201 - its purpose
