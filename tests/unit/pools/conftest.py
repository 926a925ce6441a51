"""A small synthetic population, as requests and as the contribution rows that the accounts job would make of them."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from detection.columns import CONTRIBUTION, CUES, FIXED_POINT, RESIDUAL_REGISTERS, RESPONSE_REGISTERS
from detection.config import DetectionConfig
from detection.detectors.reference import References
from detection.families import Family
from detection.pools.scoring import build_pool_reference, strata
from detection.pools.step import PoolsStep
from detection.sketches.hyperloglog import offers

if TYPE_CHECKING:
    from detection.columns import StructuredArray
    from detection.outcomes import Finding
    from detection.pools.scoring import PoolVector

HOP_MS = DetectionConfig().clocking.hop_ms
START_MS = 1_900_000 * HOP_MS
DAY_MS = 86_400_000


@dataclass
class Request:
    pool: int
    family: int
    customer: int
    account: int
    time: int
    input_tokens: int
    output_tokens: int
    residual: int
    response: int
    projection: np.ndarray
    network: int = 0
    payment: int = 0
    created_at: int = 0
    verified: int = 0
    continued: int = 0
    cues: tuple[int, ...] = (0,) * len(CUES)
    flags: dict[str, int] = field(default_factory=dict)


def _register(registers: Any, value: int) -> None:
    places, ranks = offers(np.array([value], np.uint64), len(registers))
    registers[places[0]] = max(registers[places[0]], ranks[0])


def fixed(tokens: int) -> int:
    return round(math.log1p(tokens) * FIXED_POINT)


def hour(time: int) -> tuple[int, int]:
    angle = 2 * math.pi * (time % DAY_MS) / DAY_MS
    return round(math.sin(angle) * FIXED_POINT), round(math.cos(angle) * FIXED_POINT)


def contributions(requests: list[Request]) -> StructuredArray:
    """Make one row for each (hop, pool, account), as the accounts job does."""
    requests = sorted(requests, key=lambda r: (r.time, r.account, r.pool))
    ordinal: dict[int, int] = defaultdict(int)
    first: dict[int, int] = {}
    rows: dict[tuple[int, int, int], np.void] = {}
    seen: set[tuple[int, int, int]] = set()
    for r in requests:
        if (r.account, r.time, r.residual) not in seen:  # One request may stand in several pools.
            seen.add((r.account, r.time, r.residual))
            ordinal[r.account] += 1
        first.setdefault(r.account, r.time)
        key = (r.time // HOP_MS, r.pool, r.account)
        if key not in rows:
            row = rows[key] = np.zeros((), CONTRIBUTION)
            row["hop"], row["pool"], row["account"] = key
            row["family"], row["customer"], row["first_seen"] = r.family, r.customer, first[r.account]
            row["account_requests_before"] = ordinal[r.account] - 1
        row = rows[key]
        row["account_requests"] = ordinal[r.account]
        row["requests"] += 1
        row["continued"] += r.continued
        row["cues"] += np.array(r.cues, np.int32)
        for name, value in r.flags.items():
            row[name] += value
        sine, cosine = hour(r.time)
        row["hour_sine"] += sine
        row["hour_cosine"] += cosine
        row["log_input"] += fixed(r.input_tokens)
        row["log_output"] += fixed(r.output_tokens)
        row["log_output_squared"] += fixed(r.output_tokens) ** 2
        row["output_tokens"] += r.output_tokens
        row["projection"] += r.projection.astype(np.int32)
        row["projection_squared"] += int((r.projection.astype(np.int64) ** 2).sum())
        for name, value in (
            ("network", r.network),
            ("payment", r.payment),
            ("created_at", r.created_at),
            ("verified", r.verified),
        ):
            row[name] = max(int(row[name]), value)
        if r.created_at and r.time - r.created_at < 14 * DAY_MS:
            row["young"] += 1
        if r.residual:
            _register(row["residuals"], r.residual)
        if r.response:
            _register(row["responses"], r.response)
    return np.array(list(rows.values()), CONTRIBUTION) if rows else np.empty(0, CONTRIBUTION)


def _word(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 2**63))


def organic(
    rng: np.random.Generator,
    pool: int,
    customers: int,
    days: float = 2.0,
    family: Family = Family.CONFIGURATION,
    volume: float = 25.0,
) -> list[Request]:
    """Customers that differ: heavy-tailed volume, own hours, own lengths, own subject; some converse, some repeat."""
    requests = []
    for _ in range(customers):
        customer = _word(rng)
        network, created = _word(rng), START_MS - int(rng.uniform(1, 700) * DAY_MS)
        count = 1 + rng.poisson(volume * days / 2 * rng.lognormal(-0.5, 1.0))
        peak, width = rng.uniform(0, 24), rng.uniform(1.5, 5.0)
        length, spread = rng.normal(5.2, 0.8), rng.uniform(0.4, 0.9)
        given = rng.normal(5.5, 1.0)
        subject = rng.normal(0, 14, 32)
        repeat, converse = rng.beta(1, 6), rng.beta(1.2, 3)
        previous = _word(rng)
        for _ in range(count):
            when = START_MS + int((rng.integers(0, max(int(days), 1)) + (rng.normal(peak, width) % 24) / 24) * DAY_MS)
            previous = previous if rng.random() < repeat else _word(rng)
            requests.append(
                Request(
                    pool,
                    family,
                    customer,
                    customer,
                    when,
                    int(np.exp(rng.normal(given, 0.7))),
                    int(np.exp(rng.normal(length, spread))),
                    previous,
                    _word(rng) if rng.random() < 0.9 else 7,
                    np.clip(subject + rng.normal(0, 24, 32), -127, 127).astype(np.int8),
                    network,
                    created_at=created,
                    continued=int(rng.random() < converse),
                )
            )
    return requests


def campaign(
    rng: np.random.Generator,
    pool: int,
    customers: int,
    days: float = 2.0,
    family: Family = Family.CONFIGURATION,
    volume: float = 26.0,
) -> list[Request]:
    """One dispatcher behind many accounts: Poisson volumes, one shape of work, no two prompts alike."""
    requests = []
    for _ in range(customers):
        customer, network = _word(rng), _word(rng)
        requests += [
            Request(
                pool,
                family,
                customer,
                customer,
                START_MS + int(rng.uniform(0, days) * DAY_MS),
                int(np.exp(rng.normal(4.6, 0.4))),
                int(np.exp(rng.normal(6.3, 0.5))),
                _word(rng),
                _word(rng),
                np.clip(rng.normal(0, 28, 32), -127, 127).astype(np.int8),
                network,
                created_at=START_MS - 40 * DAY_MS,
            )
            for _ in range(max(rng.poisson(volume * days / 2), 1))
        ]
    return requests


@pytest.fixture(scope="session")
def traffic() -> SimpleNamespace:
    return SimpleNamespace(
        Request=Request,
        contributions=contributions,
        organic=organic,
        campaign=campaign,
        fixed=fixed,
        hour=hour,
        HOP_MS=HOP_MS,
        START_MS=START_MS,
        DAY_MS=DAY_MS,
        REGISTERS=(RESIDUAL_REGISTERS, RESPONSE_REGISTERS),
    )


@pytest.fixture(scope="session")
def honest_references(feed: Any) -> References:
    """References of 90 honest pools, all of one family: the seeds are not those of any test."""
    by_stratum = defaultdict(list)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        requests = []
        for pool in range(30):
            requests += organic(rng, 1000 * seed + pool + 1, int(np.exp(rng.uniform(np.log(4), np.log(90)))))
        _, vectors = feed(PoolsStep(DetectionConfig(), None, 0, 1), contributions(requests))
        for vector in vectors:
            for name in strata(vector.group, vector.band):
                by_stratum[name].append(vector.values)
    pools = {name: build_pool_reference(np.array(rows)) for name, rows in by_stratum.items()}
    return References(version="test", pools=pools)


@pytest.fixture(scope="session")
def feed() -> Any:
    """Play contribution rows hop by hop through a step with one source; give the findings and vectors."""

    def play(step: PoolsStep, rows: StructuredArray) -> tuple[list[Finding], list[PoolVector]]:
        findings, vectors = [], []
        for offset, hop in enumerate(np.unique(rows["hop"]).tolist()):
            step.add(0, rows[rows["hop"] == hop], hop, offset)
            outcome = step.take()
            findings += outcome.findings
            vectors += outcome.vectors
        return findings, vectors

    return play
