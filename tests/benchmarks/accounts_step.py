"""CPU time of the accounts step for each request: `python tests/benchmarks/accounts_step.py [--profile]`.

Two streams of synthetic columns: z20k (20,000 accounts by Zipf's law, and a hot key with 30 % of the traffic) and u20k
(uniform). Chunks of 10,000 requests, a take and a checkpoint every ``--take`` chunks, hops of 15 minutes of event time.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time

import numpy as np

from detection.accounts.step import AccountsStep
from detection.columns import EVENT, StructuredArray
from detection.config import AccountLane, DetectionConfig
from detection.detectors.calibration import build
from detection.detectors.reference import References
from detection.features.catalogue import ACCOUNT_FEATURES
from detection.ids import mix

ACCOUNTS = 20_000
HOT_SHARE = 0.3
CHUNK = 10_000


def stream(count: int, accounts: int, rate: float, *, zipf: bool, seed: int = 1) -> StructuredArray:
    """Make requests at ``rate`` a second of event time."""
    draw = np.random.default_rng(seed)
    if zipf:
        weights = 1.0 / np.arange(1, accounts + 1)
        who = draw.choice(accounts, count, p=weights / weights.sum())
        who[draw.random(count) < HOT_SHARE] = 0
    else:
        who = draw.integers(0, accounts, count)
    ids = mix(np.arange(accounts, dtype=np.uint64))
    events = np.zeros(count, EVENT)
    begin = 1_760_000_000_000
    events["time"] = begin + (np.arange(count) * (1000 / rate)).astype(np.int64) - draw.integers(0, 2000, count)
    events["account"] = ids[who]
    events["configuration"] = mix((who % 40).astype(np.uint64))
    events["client"] = mix((who % 7).astype(np.uint64))
    events["network"] = mix((who % 5000).astype(np.uint64))
    events["address"] = mix((who % 9000 + draw.integers(0, 2, count)).astype(np.uint64))
    events["system"] = mix((who % 90).astype(np.uint64))
    for name in ("prefix", "suffix"):
        # A third of the prompts follow one of the account's own templates, the rest are new.
        words = draw.integers(1, 1 << 62, (count, 4)).astype(np.uint64)
        common = draw.random(count) < 1 / 3
        words[common] = mix((who[common] % 500).astype(np.uint64))[:, None]
        events[name] = words
    for name in ("last_turn", "response"):
        events[name] = draw.integers(1, 1 << 62, count)
    events["boundaries"] = draw.integers(1, 1 << 62, (count, 4))
    events["flags"] = np.where(draw.random(count) < 0.5, 1 << 14, 0) | np.where(draw.random(count) < 0.05, 1 << 8, 0)
    events["input_tokens"] = draw.integers(10, 5000, count)
    events["output_tokens"] = draw.integers(1, 2000, count)
    events["projection"] = draw.integers(-100, 100, (count, 32))
    return events


def references() -> References:
    """Make references of noise: what they say does not matter to what they cost."""
    names = [feature.name for feature in ACCOUNT_FEATURES]
    matrix = np.random.default_rng(2).random((500, len(names))) * 10
    one = build(names, [feature.direction for feature in ACCOUNT_FEATURES], matrix)
    return References(version="bench", accounts=dict.fromkeys(AccountLane().milestones, one))


def run(step: AccountsStep, events: StructuredArray, take_every: int) -> dict[str, float]:
    """Run a stream through; CPU in us per request by part."""
    spent = dict.fromkeys(("apply", "take", "checkpoint"), 0.0)
    rows = windows = 0
    for number, start in enumerate(range(0, len(events), CHUNK), 1):
        chunk = events[start : start + CHUNK]
        begin = time.process_time()
        step.apply(chunk, np.arange(start, start + len(chunk)))
        spent["apply"] += time.process_time() - begin
        if number % take_every == 0:
            begin = time.process_time()
            outcome = step.take()
            spent["take"] += time.process_time() - begin
            rows += len(outcome.contributions)
            windows += len(outcome.windows)
            begin = time.process_time()
            step.dirty()
            step.meta()
            spent["checkpoint"] += time.process_time() - begin
    figures = {name: 1e6 * seconds / len(events) for name, seconds in spent.items()}
    figures["total"] = sum(figures.values())
    figures["contributions"] = rows / len(events)
    figures["windows"] = windows / len(events)
    return figures


def main() -> None:
    """Print the figures, and with ``--profile`` where the time of z20k goes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second of event time")
    parser.add_argument("--take", type=int, default=5, help="chunks between two takes")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    for name, zipf in (("zipf", True), ("uniform", False)):
        events = stream(options.events, options.accounts, options.rate, zipf=zipf)
        step = AccountsStep(DetectionConfig(), references(), 0)
        run(step, events[:50_000], options.take)
        step = AccountsStep(DetectionConfig(), references(), 0)
        profiler = cProfile.Profile()
        if options.profile:
            profiler.enable()
        figures = run(step, events, options.take)
        profiler.disable()
        print(name, {part: round(value, 2) for part, value in figures.items()})  # noqa: T201 - Its purpose.
        if options.profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    main()
