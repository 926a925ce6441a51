"""A findings log as two jobs of two partitions write it: interleaved, with the control records behind."""

from __future__ import annotations

import random

from detection.ids import digest_hex, rfc3339
from detection.outcomes import Evidence, Finding, Member, SourceClosed
from schemas.finding import encode_finding


def finding(hop: int, subject: str, score: float = 4.0) -> Finding:
    """One finding of the account lane with one member."""
    return Finding(
        finding_id=digest_hex("finding", hop, subject),
        lane="account",
        detector="tail",
        family="",
        subject=subject,
        hop=hop,
        event_time=rfc3339((hop + 1) * 900_000),
        score=score,
        threshold=3.5,
        customers=1,
        requests=40,
        verified_share=0.0,
        young_share=1.0,
        evidence=[Evidence(feature="echo", actual=0.9, expected=0.1, weight=2.5)],
        members=[Member(account=subject, customer=subject, requests=40, strength=0.9, since=rfc3339(hop * 900_000))],
        config_version="test",
    )


def findings_log(hops: int, partitions: int, seed: int = 7) -> list[bytes]:
    """Encoded records, in one order that such a log can have."""
    draw = random.Random(seed)  # noqa: S311 - a repeatable order, no secret
    sources = [(job, part) for job in ("accounts", "pools") for part in range(partitions)]
    queues = {
        source: [
            record
            for hop in range(hops)
            for record in (
                *(
                    encode_finding(finding(hop, f"{draw.randrange(40):016x}", draw.random()))
                    for _ in range(draw.randrange(4))
                ),
                encode_finding(SourceClosed(job=source[0], partition=source[1], hop=hop)),  # type: ignore[arg-type] # of two
            )
        ]
        for source in sources
    }
    log: list[bytes] = []
    while any(queues.values()):
        source = draw.choice([source for source, queue in queues.items() if queue])
        log.append(queues[source].pop(0))
    return log
