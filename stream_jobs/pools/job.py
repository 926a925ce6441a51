"""The pools job on the partition engine: one ``PoolsStep`` for each partition of contributions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from detection.outcomes import SourceClosed
from detection.pools.step import PoolsStep
from schemas.contributions import decode_block
from schemas.topics import FINDINGS, POOL_CONTRIBUTIONS, POOLS_STATE, REQUESTS
from stream_jobs.engine.findings import finding_output
from stream_jobs.engine.job import Job, Output, Processed, Source, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from stream_jobs.engine.job import Batch


def pools_job(config: DetectionConfig, references: References | None) -> Job:
    """Describe the job to the engine. Its sources of time are the partitions of the accounts job."""
    return Job(
        name="pools",
        sources=(Source(POOL_CONTRIBUTIONS.name, gaps=True),),
        others=(REQUESTS.name, FINDINGS.name),
        state_topic=POOLS_STATE.name,
        make_task=lambda partition, widths: PoolsTask(config, references, partition, widths[REQUESTS.name]),
    )


class PoolsTask:
    """State of one partition of pools; ``sources`` is the partition count of ``requests``."""

    def __init__(self, config: DetectionConfig, references: References | None, partition: int, sources: int) -> None:
        self._step = PoolsStep(config, references, partition, sources)
        self._hop_ms = config.clocking.hop_ms
        self._told = -1  # The last closed hop that a record has carried.
        self._evicted = 0
        self._findings: Counter[tuple[str, str]] = Counter()

    def load_meta(self, raw: bytes) -> None:
        """Take the last checkpoint's positions; its transaction also told its closed hop."""
        self._step.load_meta(raw)
        self._told = self._step.closed_hop

    def load(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Take the pool rows, member rows and stubs."""
        self._step.load(keys, values)

    def resume(self, read: Mapping[str, int]) -> Mapping[str, int]:
        """Read again what waits for its hop to close: the rows do not hold it."""
        return {topic: min(offset, self._step.resume) for topic, offset in read.items()}

    def process(self, batch: Batch) -> Processed:
        """Add contribution blocks; one that cannot be read is a bug of ours and stops the job."""
        for offset, value in zip(batch.offsets.tolist(), batch.values, strict=True):
            block = decode_block(value or b"")
            self._step.add(block.source_partition, block.contributions(), block.closed_hop, offset)
        return Processed(pressing=self._step.closed_hop > self._told)

    def take(self) -> list[Output]:
        """Give the findings of closed hops, and after them what says that the hops are closed."""
        outcome = self._step.take()
        self._evicted += outcome.evicted
        outputs: list[Output] = []
        for finding in outcome.findings:
            self._findings[finding.lane, finding.detector] += 1
            outputs.append(finding_output(finding, "pools", self._hop_ms))
        if outcome.closed_hop > self._told:
            record = SourceClosed(job="pools", partition=self._step.partition, hop=outcome.closed_hop)
            outputs.append(finding_output(record, "pools", self._hop_ms))
            self._told = outcome.closed_hop
        return outputs

    def dirty(self) -> tuple[list[bytes], list[bytes | None]]:
        """Give the changed rows and the forgotten ones."""
        return self._step.dirty()

    def meta(self) -> bytes:
        """Give the step's positions."""
        return self._step.meta()

    def status(self) -> TaskStatus:
        """Describe the partition."""
        return TaskStatus(
            sum(self._step.sizes.values()),
            (self._told + 1) * self._hop_ms if self._told >= 0 else None,
            holder=f"accounts-{self._step.holder}",
            evictions=self._evicted,
            findings=self._findings,
        )
