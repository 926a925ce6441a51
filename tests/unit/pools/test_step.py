"""The pools step: neither the order of arrival, nor block borders, nor a kill can change what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.columns import CONTRIBUTION
from detection.config import DetectionConfig, PoolLane
from detection.families import Family
from detection.ids import mix
from detection.pools.contributions import Contributions
from detection.pools.layout import MEMBER, NO_CUT
from detection.pools.step import PoolsStep

if TYPE_CHECKING:
    from detection.columns import StructuredArray
    from detection.detectors.reference import References
    from detection.outcomes import Finding
    from detection.pools.step import PoolsOutcome

    Block = tuple[int, StructuredArray, int]

SOURCES = 3
NOTHING = np.empty(0, CONTRIBUTION)


@pytest.fixture(scope="module")
def stream(traffic: Any) -> StructuredArray:
    """Half a day of four pools, from three sources: a shuffled log of blocks, as one partition would hold it."""
    rng = np.random.default_rng(42)
    requests = traffic.organic(rng, 11, 30, days=0.5) + traffic.organic(rng, 12, 6, days=0.5, family=Family.SYSTEM)
    requests += traffic.campaign(rng, 13, 40, days=0.5, volume=80) + traffic.campaign(rng, 14, 2, days=0.5)
    return traffic.contributions(requests)


def blocks_of(rows: StructuredArray, rng: np.random.Generator, size: int) -> list[Block]:
    """Cut rows into blocks: each source in its own time order, the sources interleaved at random."""
    owner = rows["account"] % SOURCES
    queues = []
    for source in range(SOURCES):
        mine = rows[owner == source]
        mine = mine[np.argsort(mine["hop"], kind="stable")]
        cuts = [*range(0, len(mine), size)]
        queue = []
        for cut in cuts:
            part, rest = mine[cut : cut + size], mine[cut + size :]
            closed = int(rest["hop"].min()) - 1 if len(rest) else int(rows["hop"].max())
            queue.append((source, part, closed))
        queues.append(queue)
    log = []
    while any(queues):
        queue = queues[int(rng.choice([i for i, q in enumerate(queues) if q]))]
        log.append(queue.pop(0))
        if rng.random() < 0.2:
            log.append((log[-1][0], NOTHING, log[-1][2]))
    return log


class Durable:
    """What a broker would keep: the newest value of each key, and the meta row."""

    def __init__(self) -> None:
        self.rows, self.meta = {}, None

    def checkpoint(self, step: PoolsStep) -> None:
        keys, values = step.dirty()
        assert len(set(keys)) == len(keys)
        for key, value in zip(keys, values, strict=True):
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        self.meta = step.meta()

    def restore(self, config: DetectionConfig, references: References | None) -> PoolsStep:
        step = PoolsStep(config, references, 0, SOURCES)
        if self.meta is not None:
            step.load_meta(self.meta)
            step.load(list(self.rows), list(self.rows.values()))
        return step


def contents(step: PoolsStep) -> tuple[dict[bytes, bytes | None], bytes]:
    """Everything durable, without the slots."""
    keys, values = PoolsStep.dirty(step)
    return dict(zip(keys, values, strict=True)), step.meta()


def run(step: PoolsStep, log: list[Block]) -> list[Finding]:
    findings = []
    for offset, (source, part, closed) in enumerate(log):
        step.add(source, Contributions(part), closed, offset)
        findings += step.take().findings
    return findings


CONFIG = DetectionConfig(pools=PoolLane(threshold=1.0))


@pytest.fixture(scope="module")
def expected(stream: StructuredArray, honest_references: References) -> list[Finding]:
    step = PoolsStep(CONFIG, honest_references, 0, SOURCES)
    findings = run(step, blocks_of(stream, np.random.default_rng(0), 10_000))
    assert {finding.subject for finding in findings} >= {f"{13:016x}"}
    return findings


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([7, 40, 300]))
def test_neither_order_nor_block_borders_matter(
    stream: StructuredArray, honest_references: References, expected: list[Finding], seed: int, size: int
) -> None:
    step = PoolsStep(CONFIG, honest_references, 0, SOURCES)
    assert run(step, blocks_of(stream, np.random.default_rng(seed), size)) == expected
    assert step.closed_hop == stream["hop"].max()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), every=st.integers(1, 9), kills=st.lists(st.integers(0, 200), max_size=4))
def test_a_kill_at_any_point_changes_nothing(
    stream: StructuredArray,
    honest_references: References,
    expected: list[Finding],
    seed: int,
    every: int,
    kills: list[int],
) -> None:
    log = blocks_of(stream, np.random.default_rng(seed), 30)
    durable, step, findings = Durable(), PoolsStep(CONFIG, honest_references, 0, SOURCES), []
    uncommitted, offset, kills = [], 0, sorted({kill % len(log) for kill in kills})
    while offset < len(log):
        if kills and offset == kills[0]:
            # Findings since the checkpoint were never committed, and the state in memory is lost.
            kills.pop(0)
            uncommitted.clear()
            step = durable.restore(CONFIG, honest_references)
            offset = step.resume
            continue
        source, part, closed = log[offset]
        step.add(source, Contributions(part), closed, offset)
        uncommitted += step.take().findings
        offset += 1
        if offset % every == 0 or offset == len(log):
            durable.checkpoint(step)
            findings += uncommitted
            uncommitted.clear()
    assert findings == expected


def test_a_restored_step_holds_the_same_rows(stream: StructuredArray, honest_references: References) -> None:
    log = blocks_of(stream, np.random.default_rng(3), 50)
    step, durable = PoolsStep(CONFIG, honest_references, 0, SOURCES), Durable()
    run(step, log[: len(log) // 2])
    durable.checkpoint(step)
    again = durable.restore(CONFIG, honest_references)
    assert again.sizes == step.sizes
    assert (again.meta(), again.resume) == (step.meta(), step.resume)
    assert again.dirty() == ([], [])
    findings = [run_from(s, log, s.resume) for s in (again, step)]
    assert findings[0] == findings[1]
    assert contents(again) == contents(step)


def run_from(step: PoolsStep, log: list[Block], start: int) -> list[Finding]:
    findings = []
    for offset in range(start, len(log)):
        source, part, closed = log[offset]
        step.add(source, Contributions(part), closed, offset)
        findings += step.take().findings
    return findings


def row(
    pool: int,
    customer: int,
    hop: int,
    requests: int = 1,
    family: Family = Family.PREFIX_8,
    account: int | None = None,
    before: int = 0,
) -> StructuredArray:
    made = np.zeros(1, CONTRIBUTION)
    made["pool"], made["customer"], made["hop"], made["requests"] = pool, customer, hop, requests
    made["account"], made["family"] = account or customer, family
    made["account_requests_before"], made["account_requests"] = before, before + requests
    return made


def close(step: PoolsStep, offset: int, hop: int, *rows: StructuredArray) -> PoolsOutcome:
    step.add(0, Contributions(np.concatenate(rows) if rows else NOTHING), hop, offset)
    return step.take()


FOUR = DetectionConfig(pools=PoolLane(minimum_customers=4))


def test_a_pool_is_admitted_when_enough_customers_are_remembered_together() -> None:
    step = PoolsStep(FOUR, None, 0, 1)
    assert close(step, 0, 100, row(1, 10, 100), row(1, 11, 100), row(1, 10, 100)).admitted == 0
    assert close(step, 1, 150, row(1, 12, 150)).admitted == 0
    assert step.sizes == {"stubs": 3, "pools": 0, "members": 0, "watched": 0}
    assert close(step, 2, 151, row(1, 13, 151), row(1, 10, 151)).admitted == 1
    # Rows of the hop of admission count; those before it are gone with the stub.
    assert step.sizes == {"stubs": 0, "pools": 1, "members": 2, "watched": 0}


def test_an_idle_stub_is_forgotten_with_its_durable_record() -> None:
    step, durable = PoolsStep(FOUR, None, 0, SOURCES), Durable()
    for source in range(SOURCES):
        rows = np.concatenate([row(1, c, 100) for c in (10, 11, 12)]) if not source else NOTHING
        step.add(source, Contributions(rows), 100, source)
    durable.checkpoint(step)
    assert len(durable.rows) == 1
    for source in range(SOURCES):
        step.add(source, Contributions(row(1, 13, 197) if not source else NOTHING), 197, SOURCES + source)
    durable.checkpoint(step)
    outcome = step.take()
    assert (outcome.admitted, outcome.evicted) == (0, 1)
    assert step.sizes["stubs"] == 1
    assert len(durable.rows) == 1
    assert durable.restore(FOUR, None).sizes == step.sizes


def test_stubs_stay_under_their_limit_by_whole_hops() -> None:
    step = PoolsStep(DetectionConfig(pools=PoolLane(maximum_stubs=25)), None, 0, 1)
    for offset, hop in enumerate(range(100, 106)):
        close(step, offset, hop, *[row(hop * 100 + i, 7, hop) for i in range(10)])
        assert step.sizes["stubs"] <= 25


def test_members_stay_under_their_limit_and_the_least_recent_pools_go() -> None:
    step = PoolsStep(DetectionConfig(pools=PoolLane(maximum_members=20)), None, 0, 1)
    for offset, hop in enumerate(range(100, 106)):
        outcome = close(step, offset, hop, *[row(hop, c, hop) for c in range(1, 9)])
        assert step.sizes["members"] <= 20
    assert outcome.evicted == 1
    assert step._store.pools.find(np.array([105, 103], np.uint64)).min() >= 0 or step.sizes["pools"] == 2


def test_a_pool_idle_for_a_window_is_evicted_with_tombstones() -> None:
    step, durable = PoolsStep(DetectionConfig(), None, 0, 1), {}
    close(step, 0, 100, *[row(1, c, 100) for c in range(1, 6)])
    durable |= dict(zip(*step.dirty(), strict=True))
    close(step, 1, 389, row(2, 1, 389))
    durable |= dict(zip(*step.dirty(), strict=True))
    assert step.sizes["pools"] == 0
    assert sum(value is not None for key, value in durable.items() if key[:1] in b"pm") == 0


def test_a_window_restarts_after_three_days_and_the_pool_stays() -> None:
    step = PoolsStep(DetectionConfig(), None, 0, 1)
    for offset, hop in enumerate(range(100, 400, 50)):
        close(step, offset, hop, *[row(1, c, hop, 3) for c in range(1, 6)])
    assert step._store.pools.rows["requests"][step._store.pools.slots()].tolist() == [90]
    close(step, 10, 400, row(1, 9, 400, 2))
    assert step.sizes == {"stubs": 0, "pools": 1, "members": 1, "watched": 0}
    assert step._store.pools.rows["requests"][step._store.pools.slots()].tolist() == [2]


def test_the_sample_is_the_customers_of_the_smallest_hashes_with_complete_sums() -> None:
    rng = np.random.default_rng(1)
    customers = rng.integers(1, 2**63, 400).astype(np.uint64)
    step = PoolsStep(DetectionConfig(pools=PoolLane(sample=64)), None, 0, 1)
    sent = dict.fromkeys(customers.tolist(), 0)
    for offset, hop in enumerate(range(100, 130)):
        rows = []
        for customer in rng.choice(customers, 60, replace=False).tolist():
            sent[customer] += 2
            rows.append(row(1, customer, hop, 2))
        close(step, offset, hop, *rows)
    members, _ = step._store.members_of(step._store.pools.slots())
    seen = np.array([c for c, n in sent.items() if n], np.uint64)
    kept = set(seen[np.argsort(mix(seen))[:64]].tolist())
    assert set(members["customer"].tolist()) == kept
    assert {int(m["customer"]): int(m["sums"][0]) for m in members} == {c: sent[c] for c in kept}
    pool = step._store.pools.rows[step._store.pools.slots()][0]
    assert pool["requests"] == sum(sent.values())
    assert pool["cut"] != NO_CUT
    assert step._store.customers(step._store.pools.slots())[0] == pytest.approx(len(seen), rel=0.3)


def test_the_four_smallest_accounts_of_a_customer_are_kept_exactly() -> None:
    step = PoolsStep(DetectionConfig(), None, 0, 1)
    close(step, 0, 100, *[row(1, c, 100) for c in range(1, 5)])
    for offset, (hop, accounts) in enumerate([(101, (50, 30, 60)), (102, (40, 30, 20)), (103, (70, 20, 50))], start=1):
        close(step, offset, hop, *[row(1, 9, hop, 2, account=a, before=hop) for a in accounts])
    members, _ = step._store.members_of(step._store.pools.slots())
    firm = members[members["customer"] == 9][0]
    assert firm["account"].tolist() == [20, 30, 40, 50]
    assert firm["account_requests"].tolist() == [4, 4, 2, 4]
    assert firm["account_before"].tolist() == [102, 101, 102, 101]
    assert firm["account_after"].tolist() == [105, 104, 104, 105]
    assert firm["more_accounts"] == 1
    assert firm["sums"][0] == 18


def test_a_state_of_other_partition_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="3 sources, not 2"):
        PoolsStep(CONFIG, None, 0, 2).load_meta(PoolsStep(CONFIG, None, 0, 3).meta())


def test_a_row_of_another_version_is_refused() -> None:
    step = PoolsStep(CONFIG, None, 0, 1)
    with pytest.raises(ValueError, match="version"):
        step.load([b"m" + bytes(16)], [b"\x63" + bytes(MEMBER.itemsize)])
