"""The path without a broker: how it is cut, dealt and put on the wire changes no byte of an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.accounts.step import AccountsStep
from detection.columns import CONTRIBUTION
from detection.config import Clocking, DetectionConfig
from detection.incidents.step import IncidentsStep
from detection.pipeline import LocalPipeline
from detection.pools.contributions import Contributions
from detection.pools.routing import partition_of_pool, split_rows
from detection.pools.step import PoolsStep
from schemas.alert import decode_alert, encode_alert
from schemas.columns import event_columns
from schemas.contributions import decode_block, encode_blocks
from schemas.finding import decode_finding, encode_finding
from schemas.model_version import ModelVersion
from services.adapters.kafka.murmur2 import partitions_of
from services.evaluation.backtest import Backtest, last_revisions, write_alerts
from services.evaluation.heads import HeadFileError, read_head
from services.evaluation.truth import Requests, evaluate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from detection.columns import StructuredArray
    from detection.detectors.reference import References

PARTITIONS = 3
CONFIG = DetectionConfig(clocking=Clocking(hop_ms=3_600_000))
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def dealt(day: Any) -> list[StructuredArray]:
    columns = event_columns(day.events)
    owner = partitions_of(columns["account"], PARTITIONS)
    return [columns[owner == partition] for partition in range(PARTITIONS)]


@pytest.fixture(scope="module")
def expected(day: Any, references: References) -> list[bytes]:
    alerts = list(Backtest(CONFIG, references, PARTITIONS).run(day.events))
    assert alerts
    return [encode_alert(alert) for alert in alerts]


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32), most=st.sampled_from([40, 700]))
def test_alerts_do_not_depend_on_how_events_are_cut(
    dealt: list[StructuredArray], references: References, expected: list[bytes], seed: int, most: int
) -> None:
    rng = np.random.default_rng(seed)
    pipeline, alerts, taken = LocalPipeline(CONFIG, references, PARTITIONS), [], [0] * PARTITIONS
    while open_ones := [p for p in range(PARTITIONS) if taken[p] < len(dealt[p])]:
        partition = int(rng.choice(open_ones))
        stop = taken[partition] + int(rng.integers(1, most))
        alerts += pipeline.feed(partition, dealt[partition][taken[partition] : stop])
        taken[partition] = stop
    alerts += pipeline.finish()
    assert [encode_alert(alert) for alert in alerts] == expected


def test_a_head_from_a_file_orders_and_changes_nothing_else(
    day: Any, references: References, expected: list[bytes], tmp_path: Path
) -> None:
    told = ModelVersion(
        model="supervised",
        version=9,
        stage="live",
        trained_on=90,
        positives=60,
        created_at="2026-01-02T03:04:05.000Z",
        parameters={"intercept": -9.0, "steps": 90.0},
    )
    path = tmp_path / "head.json"
    path.write_bytes(msgspec.json.encode(told))
    alerts = list(Backtest(CONFIG, references, PARTITIONS, head=read_head(path)).run(day.events))
    assert {alert.model for alert in alerts} == {"supervised/9"}
    assert all(alert.priority < alert.rank for alert in alerts)
    bare = [msgspec.structs.replace(alert, model="", priority=alert.rank) for alert in alerts]
    assert [encode_alert(alert) for alert in bare] == expected
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(told, parameters={})))
    with pytest.raises(HeadFileError, match="cannot be read"):
        read_head(path)


def test_alerts_are_the_same_over_the_wire(
    dealt: list[StructuredArray], references: References, expected: list[bytes]
) -> None:
    """Three jobs with records between them, each partition's log read at its own pace, as the live path does."""
    blocks: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    log: list[bytes] = []
    for source in range(PARTITIONS):
        step, before = AccountsStep(CONFIG, references, source), -1
        last_ms = max(int(part["time"].max()) for part in dealt)
        chunks = np.array_split(dealt[source], 7)
        for place, chunk in enumerate(chunks):
            first = sum(map(len, chunks[:place]))
            step.apply(chunk, np.arange(first, first + len(chunk)))
            if place == len(chunks) - 1:
                step.advance(last_ms + 2 * HOUR_MS, first + len(chunk))
            outcome = step.take()
            for target, rows in enumerate(split_rows(outcome.contributions, PARTITIONS)):
                blocks[target] += encode_blocks(source, outcome.closed_hop, before, rows)
            before = outcome.closed_hop
            log += [encode_finding(finding) for finding in outcome.findings]
        log.append(f"accounts {source} {before}".encode())
    for place in range(PARTITIONS):
        pools = PoolsStep(CONFIG, references, place, PARTITIONS)
        for offset, raw in enumerate(blocks[place]):
            block = decode_block(raw)
            pools.add(block.source_partition, block.contributions(), block.closed_hop, offset)
        log += [encode_finding(finding) for finding in pools.take().findings]
        log.append(f"pools {place} {pools.closed_hop}".encode())
    incidents = IncidentsStep(CONFIG, PARTITIONS, PARTITIONS)
    for raw in log:
        if raw.startswith(b"{"):
            finding = decode_finding(raw)
            assert not hasattr(finding, "partition")
            incidents.add(finding)  # type: ignore[arg-type]  # Control records are text in this test.
        else:
            job, partition, hop = raw.decode().split()
            incidents.closed(job, int(partition), int(hop))
    # Hops without events close later live than in a backtest: there is no finding in them.
    assert [encode_alert(alert) for alert in incidents.take()] == expected


def test_the_campaign_is_found_and_honest_accounts_are_left_alone(day: Any, references: References) -> None:
    requests = Requests()
    run = Backtest(CONFIG, references, PARTITIONS, requests)
    alerts = list(run.run(day.events, chunk=500))
    judged = evaluate(alerts, day.truth, day.ids, requests.by_account(), run.counts.last_ms - run.counts.first_ms)
    (campaign,) = judged.campaigns
    assert campaign.found
    assert campaign.named_share > 0.9
    assert campaign.requests_after_share is not None
    assert campaign.requests_after_share > 0.5
    assert judged.honest_named_share < 0.05
    assert run.counts.events == len(day.events)


def test_a_day_without_a_campaign_is_quiet(references: References, new_day: Callable[..., Any]) -> None:
    quiet = new_day(9, honest=True)
    alerts = list(Backtest(CONFIG, references, PARTITIONS).run(quiet.events))
    assert len(last_revisions(alerts)) <= 1


def test_the_alert_file_holds_the_last_revision_of_each_alert(tmp_path: Path, expected: list[bytes]) -> None:
    alerts = [decode_alert(raw) for raw in expected]
    write_alerts(tmp_path / "alerts.jsonl", last_revisions(alerts))
    lines = [decode_alert(line) for line in (tmp_path / "alerts.jsonl").read_bytes().splitlines()]
    assert len({alert.alert_id for alert in lines}) == len(lines) == len({alert.alert_id for alert in alerts})
    for alert in alerts:
        assert max(a.revision for a in alerts if a.alert_id == alert.alert_id) == next(
            line.revision for line in lines if line.alert_id == alert.alert_id
        )


def test_every_pool_has_one_owner_and_rows_keep_their_order() -> None:
    rows = np.zeros(1000, CONTRIBUTION)
    rows["pool"] = np.random.default_rng(0).integers(1, 2**63, 1000)
    rows["first_seen"] = np.arange(1000)
    contributions = Contributions(rows)
    parts = [part.rows for part in split_rows(contributions, 5)]
    assert sum(map(len, parts)) == 1000
    for partition, part in enumerate(parts):
        assert (partition_of_pool(part["pool"], 5) == partition).all()
        assert (np.diff(part["first_seen"]) > 0).all()
    assert split_rows(contributions, 1)[0] is contributions
