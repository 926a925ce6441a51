"""What the topics take on disk, and what a second writes to them: bytes of one copy, compressed as producers do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.topics import ACCOUNT_WINDOWS, ACCOUNTS_STATE, FINDINGS, POOL_CONTRIBUTIONS, POOLS_STATE, REQUESTS
from services.capacity.sizing import LEAST_PARTITIONS, checkpoint_rows, sent, windows

if TYPE_CHECKING:
    from schemas.topics import Topic
    from services.capacity.coefficients import Coefficients
    from services.capacity.demand import Demand

_COMPACTED: Final = ACCOUNTS_STATE.config()
DIRTY: Final = float(_COMPACTED["min.cleanable.dirty.ratio"])  # Of a compacted log, that the cleaner may leave.
SEGMENT: Final = int(_COMPACTED["segment.bytes"])  # A segment that is written to is not compacted.
_DAY: Final = 86_400.0
_HOUR: Final = 3_600.0


def days_kept(topic: Topic, demand: Demand) -> float:
    """Give the days that a topic keeps a record; that of requests as was asked."""
    return demand.retention_days if topic is REQUESTS else topic.retention_ms / 1000 / _DAY


def written(demand: Demand, known: Coefficients) -> dict[Topic, float]:
    """Give the bytes a second that are written to each topic that grows with the traffic, one copy."""
    rate = demand.requests_per_second
    rows = checkpoint_rows(demand)
    return {
        REQUESTS: rate * known["disk.requests.request"],
        POOL_CONTRIBUTIONS: rate * sent(demand, known) * known["disk.pool-contributions.contribution"],
        ACCOUNT_WINDOWS: rate * windows(demand) * known["disk.account-windows.window"],
        FINDINGS: rate * known["disk.findings.request"],
        ACCOUNTS_STATE: rate * (rows + windows(demand)) * known["disk.accounts-state.account"],
        POOLS_STATE: rate * (known["disk.pools-state.window"] * windows(demand) + known["disk.pools-state.row"] * rows),
    }


def kept(demand: Demand, known: Coefficients, partitions: int) -> dict[Topic, float]:
    """Give the bytes that each of them keeps, one copy."""
    found = {}
    live = {
        ACCOUNTS_STATE: demand.accounts * known["disk.accounts-state.account"],
        POOLS_STATE: demand.accounts * known["disk.pools-state.account"],
    }
    for topic, rate in written(demand, known).items():
        if topic in live:
            # What the cleaner may leave dirty, and the segment of each partition that is being written, for an hour.
            found[topic] = live[topic] / (1 - DIRTY) + min(partitions * SEGMENT, rate * _HOUR)
        else:
            found[topic] = rate * days_kept(topic, demand) * _DAY
    return found


def raw_bytes(demand: Demand, known: Coefficients) -> float:
    """Give the bytes of one vendor's record, uncompressed."""
    return known["raw.bytes.record"] + known["raw.bytes.character"] * demand.characters


def terabytes(demand: Demand, known: Coefficients) -> float:
    """Give the sum, copies too."""
    return sum(kept(demand, known, LEAST_PARTITIONS).values()) * demand.replication / 1e12
