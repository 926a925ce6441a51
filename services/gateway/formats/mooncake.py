"""The Mooncake conversation trace: arrival, lengths and prefix blocks of 512 tokens; no identity and no text.

    {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, ...]}

``timestamp`` is ms from the trace's start; events stand at ``base_time_ms`` plus it. **Accounts are synthetic**: every
request begins with the trace's common first block, so requests that share the second one as well are taken as one
conversation, and a conversation as one account. That makes accounts too small (one person's conversations are several
accounts), so the trace serves to measure throughput, timing and lengths, and never the rate of false alarms.
"""

from __future__ import annotations

from typing import Any, Final

from services.gateway.parsed import ParsedRequest, RejectedRecord, as_count, as_number, as_time_ms

BASE_TIME_MS: Final = 1_717_200_000_000  # 2024-06-01T00:00:00Z: the trace says no date; this is the month of its paper.
_SHARED_BLOCKS: Final = 2


def parse(record: dict[str, Any], base_time_ms: int = BASE_TIME_MS) -> ParsedRequest:
    """Parse one row; raises RejectedRecord: ``schema`` or ``no_time``."""
    blocks = record.get("hash_ids")
    if not isinstance(blocks, list) or not blocks or not all(isinstance(block, int) for block in blocks):
        raise RejectedRecord("schema", "hash_ids is no list of numbers")
    offset = as_number(record.get("timestamp"))
    if offset is None:
        raise RejectedRecord("no_time", "timestamp is no number")
    return ParsedRequest(
        natural_id=(),
        time_unix_ms=as_time_ms((base_time_ms + offset) / 1000),
        account_raw="mooncake-" + "-".join(str(block) for block in blocks[:_SHARED_BLOCKS]),
        model="mooncake-trace",
        input_tokens=as_count(record.get("input_length")),
        output_tokens=as_count(record.get("output_length")),
    )
