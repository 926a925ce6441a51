"""The whole detection path in one process, without a broker: the same steps, the same routing, the same alerts.

The live path runs these steps in three jobs with Kafka between them. Here their outputs are handed on in memory. Since
no step depends on how its input is cut or interleaved, the alerts are those of the live path, byte for byte, when the
partition counts and each partition's order of events are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.accounts.step import AccountsStep
from detection.incidents.step import IncidentsStep
from detection.pools.routing import split_rows
from detection.pools.step import PoolsStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.accounts.lane import MilestoneVectors
    from detection.accounts.step import AccountsOutcome
    from detection.columns import Int64Array, StructuredArray
    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from detection.outcomes import Alert, Finding
    from detection.policy.entitlements import EntitlementLike
    from detection.pools.scoring import PoolVector
    from detection.ranking.bars import BarsRecord
    from detection.ranking.head import HeadRecord

_HOUR_MS: Final = 3_600_000


class LocalPipeline:
    """Accounts, pools and incidents of ``partitions`` partitions each.

    Feed each partition's events in their order; who belongs where is the caller's to say (murmur2 of the account id, as
    the producers do). ``references`` None scores nothing and records the vectors that references are made of.
    """

    def __init__(self, config: DetectionConfig, references: References | None, partitions: int) -> None:
        self._config = config
        self._partitions = partitions
        self._accounts = [
            AccountsStep(config, references, place, collect=references is None) for place in range(partitions)
        ]
        self._pools = [PoolsStep(config, references, place, partitions) for place in range(partitions)]
        self._incidents = IncidentsStep(config, partitions, partitions)
        self._blocks = [0] * partitions  # Offset of the next contribution block of each pools partition.
        self._offsets = [0] * partitions  # Offset of the next record of each accounts partition.
        self._told = [0] * partitions  # Offset of the next attributes record of each accounts partition.
        self._latest_ms = -1
        self.findings: dict[str, int] = {}  # By lane.
        self.account_vectors: list[MilestoneVectors] = []
        self.pool_vectors: list[PoolVector] = []
        self.late = 0

    @property
    def suppressed(self) -> int:
        """Findings that entitlements cleared."""
        return self._incidents.suppressed

    @property
    def held(self) -> dict[str, int]:
        """Incidents below the bars, by lane."""
        return self._incidents.held

    def entitle(self, entitlements: Sequence[EntitlementLike]) -> None:
        """Take entitlements; give them before the events, as they hold from when they are known."""
        for entitlement in entitlements:
            self._incidents.entitle(entitlement)

    def order_by(self, head: HeadRecord | None) -> None:
        """Let this head have its say in the alerts' order; raises ValueError."""
        self._incidents.order_by(head)

    def hold_by(self, bars: BarsRecord | None) -> None:
        """Hold back what lies below these bars; raises ValueError."""
        self._incidents.hold_by(bars)

    def attributes(self, partition: int, attributes: StructuredArray) -> None:
        """Take ``ATTRIBUTES`` rows of accounts that belong to this partition; give them before the events."""
        first = self._told[partition]
        self._told[partition] += len(attributes)
        self._accounts[partition].apply_attributes(attributes, np.arange(first, first + len(attributes)))

    def feed(self, partition: int, events: StructuredArray, offsets: Int64Array | None = None) -> list[Alert]:
        """Take ``EVENT`` rows in the partition's order and give the alerts that became complete."""
        if not len(events):
            return []
        if offsets is None:
            offsets = np.arange(self._offsets[partition], self._offsets[partition] + len(events))
        self._offsets[partition] = int(offsets[-1]) + 1
        self._latest_ms = max(self._latest_ms, int(events["time"].max()))
        self._accounts[partition].apply(events, offsets)
        return self._pass_on(partition)

    def advance(self, partition: int, time_ms: int) -> list[Alert]:
        """Move a silent partition's clock on, as a heartbeat does."""
        self._accounts[partition].advance(time_ms, self._offsets[partition])
        self._offsets[partition] += 1
        return self._pass_on(partition)

    def finish(self) -> list[Alert]:
        """Close every hop that has events, then let time pass until no incident waits for the budget."""
        clocking = self._config.clocking
        if self._latest_ms < 0:
            return []
        last_hop = self._latest_ms // clocking.hop_ms
        alerts: list[Alert] = []
        for partition in range(self._partitions):
            alerts += self.advance(partition, (last_hop + 1) * clocking.hop_ms + clocking.lateness_ms)
        while self._incidents.unraised and self._config.incidents.alerts_per_hour:
            last_hop += -(-_HOUR_MS // clocking.hop_ms)
            for partition in range(self._partitions):
                self._incidents.closed("accounts", partition, last_hop)
                self._incidents.closed("pools", partition, last_hop)
            alerts += self._incidents.take()
        return alerts

    def _pass_on(self, partition: int) -> list[Alert]:
        outcome = self._accounts[partition].take(self._partitions)
        self._tell(outcome.findings)
        self.late += outcome.late
        self.account_vectors += outcome.vectors
        self._shuffle(partition, outcome)
        self._incidents.closed("accounts", partition, outcome.closed_hop)
        return self._incidents.take()

    def _shuffle(self, source: int, outcome: AccountsOutcome) -> None:
        parts = split_rows(outcome.contributions, self._partitions)
        for place, (step, rows) in enumerate(zip(self._pools, parts, strict=True)):
            step.add(source, rows, outcome.closed_hop, self._blocks[place])
            self._blocks[place] += 1
            pools = step.take()
            self._tell(pools.findings)
            self.pool_vectors += pools.vectors
            self._incidents.closed("pools", place, pools.closed_hop)

    def _tell(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            self.findings[finding.lane] = self.findings.get(finding.lane, 0) + 1
            self._incidents.add(finding)
