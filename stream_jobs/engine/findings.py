"""Findings as records: one partition, so that a source's findings come before the record that closes their hop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detection.outcomes import Finding
from schemas.finding import encode_finding
from schemas.headers import binary_headers
from schemas.topics import FINDINGS
from stream_jobs.engine.job import Output

if TYPE_CHECKING:
    from detection.outcomes import SourceClosed


def finding_output(record: Finding | SourceClosed, job: str, hop_ms: int) -> Output:
    """Write a finding, or what closes a hop, for partition 0; everything in it is a function of the input."""
    headers = binary_headers(record, f"stillwatch/{job}", (record.hop + 1) * hop_ms)
    key = record.subject.encode() if isinstance(record, Finding) else None
    return Output(FINDINGS.name, encode_finding(record), key, 0, headers)
