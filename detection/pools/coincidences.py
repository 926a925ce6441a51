"""Who sent the same prompt at the same moment: raw facts for the links of lane G, one hop's rows at a time.

A coincidence is no suspicion. The incidents step counts them by pairs of customers (``detection.incidents.links``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.families import Family
from detection.ids import digest_hex, rfc3339, to_hex
from detection.outcomes import Finding, Member
from detection.pools.hop import group_starts

if TYPE_CHECKING:
    from detection.columns import StructuredArray
    from detection.config import DetectionConfig

DETECTOR: Final = "coincidence"
_NAME: Final = Family.COINCIDENCE.name.lower()


def take_coincidences(
    hop: int, rows: StructuredArray, config: DetectionConfig
) -> tuple[StructuredArray, list[Finding]]:
    """Part one hop's rows: those of pools to keep, and the coincidences of customers, in the order of keys."""
    mine = rows["family"] == int(Family.COINCIDENCE)
    if not mine.any():
        return rows, []
    return rows[~mine], _findings(hop, rows[mine], config) if config.links.enabled else []


def _findings(hop: int, rows: StructuredArray, config: DetectionConfig) -> list[Finding]:
    order = np.lexsort((rows["account"], rows["customer"], rows["pool"]))
    rows = rows[order[group_starts(*(np.ascontiguousarray(rows[name][order]) for name in _KEY))]]
    findings = []
    starts = group_starts(rows["pool"])
    ends = np.append(starts[1:], len(rows))
    # Nearly every prompt is one customer's alone, so the customers are counted for all prompts at once.
    new = np.zeros(len(rows), np.int64)
    new[group_starts(rows["pool"], rows["customer"])] = 1
    counts = np.add.reduceat(new, starts) if len(starts) else new
    shared = np.flatnonzero((counts > 1) & (counts <= config.links.crowd))
    time = rfc3339((hop + 1) * config.clocking.hop_ms)
    for place in shared.tolist():
        some, customers = rows[starts[place] : ends[place]], int(counts[place])
        members = [
            Member(account=to_hex(account), customer=to_hex(customer), requests=1, strength=0.0, since=time)
            for account, customer in zip(some["account"].tolist(), some["customer"].tolist(), strict=True)
        ]
        findings.append(
            Finding(
                finding_id=digest_hex(DETECTOR, to_hex(some["pool"][0]), hop),
                lane="link",
                detector=DETECTOR,
                family=_NAME,
                subject=to_hex(some["network"][0]),
                hop=hop,
                event_time=time,
                score=0.0,
                threshold=1.0,
                customers=customers,
                requests=len(members),
                verified_share=round(float((some["verified"] > 0).mean()), 4),
                young_share=0.0,
                evidence=[],
                members=members,
                config_version=config.version,
            )
        )
    return findings


_KEY: Final = ("pool", "customer", "account")
