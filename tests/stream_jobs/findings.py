"""A findings log as two jobs of some partitions write it: interleaved, growing campaigns, control records behind."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from detection.config import DetectionConfig
from detection.ids import digest_hex, rfc3339
from detection.incidents.step import IncidentsStep
from detection.outcomes import Evidence, Finding, Member, SourceClosed
from schemas.alert import encode_alert
from schemas.finding import decode_finding, encode_finding

if TYPE_CHECKING:
    from detection.outcomes import Lane
    from detection.ranking.bars import BarsRecord

CAMPAIGNS = 12


def finding(lane: Lane, hop: int, subject: str, accounts: list[int], score: float) -> Finding:
    """One finding that names these accounts, each its own customer."""
    return Finding(
        finding_id=digest_hex("finding", hop, lane, subject),
        lane=lane,
        detector="exchangeability" if lane == "pool" else "tail",
        family="PREFIX_16" if lane == "pool" else "",
        subject=subject,
        hop=hop,
        event_time=rfc3339((hop + 1) * 900_000),
        score=round(score, 4),
        threshold=3.0,
        customers=len(accounts),
        requests=40 * len(accounts),
        verified_share=0.0,
        young_share=1.0,
        evidence=[Evidence(feature="dispersion", actual=0.9, expected=0.1, weight=round(score, 4))],
        members=[
            Member(
                account=f"{account:016x}",
                customer=f"{account:016x}",
                requests=40,
                strength=0.9,
                since=rfc3339((hop + 1) * 900_000),
            )
            for account in accounts
        ],
        config_version="test",
    )


def findings_log(hops: int, partitions: int, seed: int = 7) -> list[bytes]:
    """Encoded records, in one order that such a log can have."""
    draw = random.Random(seed)  # noqa: S311 - a repeatable order, no secret
    queues: dict[tuple[str, int], list[bytes]] = {}
    for partition in range(partitions):
        pools: list[bytes] = []
        accounts: list[bytes] = []
        for hop in range(hops):
            for _ in range(draw.randrange(3)):
                campaign = draw.randrange(CAMPAIGNS)
                members = [1000 * campaign + place for place in range(5 + hop // 2) if draw.random() < 0.8]
                score = 3 + draw.random() * (1 + hop / 20)
                pools.append(encode_finding(finding("pool", hop, f"{draw.randrange(30):016x}", members, score)))
            pools.append(encode_finding(SourceClosed(job="pools", partition=partition, hop=hop)))
            if draw.random() < 0.5:
                account = 500_000 + draw.randrange(60)
                accounts.append(encode_finding(finding("account", hop, f"{account:016x}", [account], 4.0)))
            accounts.append(encode_finding(SourceClosed(job="accounts", partition=partition, hop=hop)))
        queues["pools", partition] = pools
        queues["accounts", partition] = accounts
    log: list[bytes] = []
    while any(queues.values()):
        source = draw.choice([source for source, queue in queues.items() if queue])
        log.append(queues[source].pop(0))
    return log


def feed(step: IncidentsStep, raw: bytes) -> None:
    """Give the step one record of the log, as the job does."""
    record = decode_finding(raw)
    if isinstance(record, Finding):
        step.add(record)
    else:
        step.closed(record.job, record.partition, record.hop)


def undisturbed(log: list[bytes], partitions: int, bars: BarsRecord | None = None) -> dict[tuple[str, int], bytes]:
    """The alerts of the step over the same log, without any broker, by id and revision."""
    step = IncidentsStep(DetectionConfig(), partitions, partitions)
    step.hold_by(bars)
    found: dict[tuple[str, int], bytes] = {}
    for raw in log:
        feed(step, raw)
        found |= {(alert.alert_id, alert.revision): encode_alert(alert) for alert in step.take()}
    return found
