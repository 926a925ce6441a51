"""The accounts job on the partition engine: one ``AccountsStep`` for each partition of requests."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from detection.accounts.step import AccountsStep
from detection.ids import to_hex
from detection.outcomes import SourceClosed
from detection.pools.routing import split_rows
from schemas.account_window import AccountWindow
from schemas.contributions import encode_blocks
from schemas.headers import binary_headers
from schemas.request_event import Heartbeat
from schemas.topics import ACCOUNT_ATTRIBUTES, ACCOUNT_WINDOWS, ACCOUNTS_STATE, FINDINGS, POOL_CONTRIBUTIONS, REQUESTS
from stream_jobs.accounts.reading import read_attributes, read_requests
from stream_jobs.engine.findings import finding_output
from stream_jobs.engine.job import Heartbeats, Job, Output, Processed, Source, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from detection.columns import StructuredArray
    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from stream_jobs.engine.job import Batch

_json = msgspec.json.Encoder()
_WINDOW_COLUMNS: Final = (
    "account",
    "organization",
    "hop",
    "requests",
    "input_tokens",
    "output_tokens",
    "errors",
    "total",
    "score",
    "late",
)


def accounts_job(config: DetectionConfig, references: References | None) -> Job:
    """Describe the job to the engine."""
    return Job(
        name="accounts",
        sources=(Source(REQUESTS.name), Source(ACCOUNT_ATTRIBUTES.name, gaps=True, first=True)),
        others=(POOL_CONTRIBUTIONS.name, FINDINGS.name, ACCOUNT_WINDOWS.name),
        state_topic=ACCOUNTS_STATE.name,
        make_task=lambda partition, widths: AccountsTask(
            config, references, partition, widths[POOL_CONTRIBUTIONS.name]
        ),
        heartbeats=Heartbeats(
            REQUESTS.name,
            config.clocking.idle_ms,
            lambda time_ms: _json.encode(Heartbeat(time_unix_ms=time_ms)),
        ),
    )


class AccountsTask:
    """State of one partition; ``pools_width`` is the partition count of ``pool-contributions``."""

    def __init__(
        self, config: DetectionConfig, references: References | None, partition: int, pools_width: int
    ) -> None:
        self._step = AccountsStep(config, references, partition)
        self._clocking = config.clocking
        self._pools_width = pools_width
        self._told = -1  # The last closed hop that records have carried.
        self._late = 0
        self._findings: Counter[tuple[str, str]] = Counter()

    def load_meta(self, raw: bytes) -> None:
        """Take the last checkpoint's positions; its transaction also told its closed hop."""
        self._step.load_meta(raw)
        self._told = self._step.take().closed_hop

    def load(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Take the account rows."""
        self._step.load(keys, values)

    def resume(self, read: Mapping[str, int]) -> Mapping[str, int]:
        """Read on where the last checkpoint ended."""
        return read

    def process(self, batch: Batch) -> Processed:
        """Apply requests, heartbeats or attributes."""
        if batch.topic == ACCOUNT_ATTRIBUTES.name:
            rows, offsets, rejections = read_attributes(batch)
            self._step.apply_attributes(rows, offsets)
            return Processed(rejections)
        requests = read_requests(batch, self._clocking)
        for events, offsets, heartbeat in requests.pieces():
            if len(events):
                self._step.apply(events, offsets)
            if heartbeat is not None:
                self._step.advance(*heartbeat)
        return Processed(requests.rejections, requests.event_time(), pressing=self._step.closed_hop > self._told)

    def take(self) -> list[Output]:
        """Give contributions, windows and findings; what says that a hop is closed comes after what belongs to it."""
        outcome = self._step.take(self._pools_width)
        self._late += outcome.late
        closed, told = outcome.closed_hop, self._told
        outputs: list[Output] = []
        for place, rows in enumerate(split_rows(outcome.contributions, self._pools_width)):
            if len(rows) or closed > told:
                outputs += [
                    Output(POOL_CONTRIBUTIONS.name, block, partition=place)
                    for block in encode_blocks(self._step.partition, closed, told, rows)
                ]
        outputs += _windows(outcome.windows, self._clocking.hop_ms)
        for finding in outcome.findings:
            self._findings[finding.lane, finding.detector] += 1
            outputs.append(finding_output(finding, "accounts", self._clocking.hop_ms))
        if closed > told:
            record = SourceClosed(job="accounts", partition=self._step.partition, hop=closed)
            outputs.append(finding_output(record, "accounts", self._clocking.hop_ms))
            self._told = closed
        return outputs

    def dirty(self) -> tuple[list[bytes], Sequence[bytes | None]]:
        """Give the changed account rows."""
        return self._step.dirty()

    def meta(self) -> bytes:
        """Give the step's positions."""
        return self._step.meta()

    def status(self) -> TaskStatus:
        """Describe the partition."""
        closed_ms = (self._told + 1) * self._clocking.hop_ms if self._told >= 0 else None
        return TaskStatus(
            self._step.accounts,
            closed_ms,
            late=self._late,
            evictions=self._step.forgotten,
            findings=self._findings,
        )


def _windows(rows: StructuredArray, hop_ms: int) -> Iterator[Output]:
    """Write accounts' closed hops, in the order of the rows."""
    # Columns as lists: to read a row's fields one by one costs as much as to write the record.
    columns = (rows[name].tolist() for name in _WINDOW_COLUMNS)
    for account, organization, hop, requests, spent, made, errors, total, score, late in zip(*columns, strict=True):
        name = to_hex(account)
        window = AccountWindow(
            account=name,
            organization=to_hex(organization) if organization else "",
            hop=hop,
            hop_end_unix_ms=(hop + 1) * hop_ms,
            requests=requests,
            input_tokens=spent,
            output_tokens=made,
            errors=errors,
            total_requests=total,
            score=score,
            late=late,
        )
        headers = binary_headers(window, "stillwatch/accounts", window.hop_end_unix_ms)
        yield Output(ACCOUNT_WINDOWS.name, _json.encode(window), name.encode(), headers=headers)
