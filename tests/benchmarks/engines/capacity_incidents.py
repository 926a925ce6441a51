"""What a record of findings costs the incidents job: synthetic findings of accounts and pools, hop after hop."""

from __future__ import annotations

import sys
import urllib.request
from typing import TYPE_CHECKING, Final

import broker
from confluent_kafka import Producer
from measure import cpu_seconds, started

from detection.config import DetectionConfig
from detection.outcomes import Evidence, Finding, Member, SourceClosed
from services.adapters.clock import SystemClock
from services.adapters.embedded.ports import reserve
from stream_jobs.engine.findings import finding_output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOPS: Final = 6
FINDINGS: Final = 600  # Of a hop: half of pools with MEMBERS members, half of accounts.
MEMBERS: Final = 20
_PORT: Final = 9_300


def records(width: int, first_hop: int) -> Iterator[Finding | SourceClosed]:
    """Give the findings of the hops, each with its end from every partition of both jobs."""
    for hop in range(first_hop, first_hop + HOPS):
        for number in range(FINDINGS):
            pool = number % 2 == 0
            # A subject comes again in the next hop, and a tenth of the members of a pool are another pool's too.
            members = [number * 18 + place for place in range(MEMBERS)] if pool else [10**6 + number]
            yield Finding(
                finding_id=f"{hop:08x}{number:08x}",
                lane="pool" if pool else "account",
                detector="directional-tail" if pool else "account-tail",
                family="prefix_16" if pool else "",
                subject=f"{number + 1:016x}",
                hop=hop,
                event_time="2026-11-30T12:00:00Z",
                score=2.5 + hop - first_hop + number % 7 / 10,
                threshold=2.3,
                customers=len(members),
                requests=40 * len(members),
                verified_share=0.0,
                young_share=0.2,
                evidence=[Evidence(feature=f"feature_{at}", actual=0.9, expected=0.1, weight=0.5) for at in range(6)],
                members=[
                    Member(
                        account=f"{each + 1:016x}",
                        customer=f"{each + 1:016x}",
                        requests=40,
                        strength=0.8,
                        since="2026-11-30T12:00:00Z",
                    )
                    for each in members
                ],
                config_version="bench",
            )
        for job in ("accounts", "pools"):
            for number in range(width):
                yield SourceClosed(job=job, partition=number, hop=hop)  # type: ignore[arg-type] - one of the two


def measure(servers: str, width: int, environment: Mapping[str, str], core: int) -> dict[str, float]:
    """Give the CPU of a record, from the first that were counted to the last."""
    broker.prepare(servers, width, requests=True)
    hop_ms = DetectionConfig().clocking.hop_ms
    first_hop = SystemClock().now_ms() // hop_ms - HOPS - 1
    producer = Producer({"bootstrap.servers": servers, "log_level": 2})
    total = 0
    for record in records(width, first_hop):
        output = finding_output(record, "bench", hop_ms)
        producer.produce(output.topic, output.value, output.key, 0, headers=list(output.headers or ()))
        producer.poll(0)
        total += 1
    producer.flush(60)
    port = reserve(_PORT)
    command = [sys.executable, "-m", "stream_jobs.incidents"]
    with started(command, {**environment, "STILLWATCH_METRICS_PORT": str(port)}, core) as running:
        seen: list[tuple[float, float]] = []

        def done() -> bool:
            count = _counted(port)
            if count:
                seen.append((count, cpu_seconds(running.process.pid)))
            return count >= total

        running.wait(done)
        (first, before), (last, after) = seen[0], seen[-1]
        return {"records": last - first, "cpu_us": 1e6 * (after - before) / max(last - first, 1), "members": MEMBERS}


def _counted(port: int) -> float:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            page = answer.read().decode()
    except OSError:
        return 0.0
    mine = 'stillwatch_events_total{job="incidents"}'
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(mine))
