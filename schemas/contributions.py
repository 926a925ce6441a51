"""Contribution blocks: the shuffle between the accounts and the pools job. Internal, columnar, versioned.

One record carries what one partition of the accounts job adds to one partition of the pools job since the last
checkpoint: rows of ``detection.columns.CONTRIBUTION``, and the last hop that the source has closed. Rows add up, so
where blocks are cut changes nothing. A block is at most ``MAXIMUM_ROWS`` rows; ``closed_hop`` counts once the rows of
the same record are in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detection.columns import CONTRIBUTION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detection.columns import StructuredArray

VERSION: Final = 1
MAXIMUM_ROWS: Final = 1500  # About 900 kB, under Kafka's default limit of 1 MiB a record.


class ContributionBlock(msgspec.Struct, frozen=True, array_like=True, tag=f"contributions.v{VERSION}"):
    """``closed_hop`` is -1 where the source has closed none yet."""

    source_partition: int
    closed_hop: int
    rows: bytes

    def array(self) -> StructuredArray:
        """Give the rows as an array, read-only."""
        return np.frombuffer(self.rows, CONTRIBUTION)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ContributionBlock)


def encode_blocks(source_partition: int, closed_hop: int, previous_hop: int, rows: StructuredArray) -> Iterator[bytes]:
    """Cut rows into records. Only the last one carries ``closed_hop``; those before it carry ``previous_hop``."""
    starts = range(0, max(len(rows), 1), MAXIMUM_ROWS)
    for start in starts:
        last = start + MAXIMUM_ROWS >= len(rows)
        part = rows[start : start + MAXIMUM_ROWS].tobytes()
        yield _encoder.encode(ContributionBlock(source_partition, closed_hop if last else previous_hop, part))


def decode_block(raw: bytes) -> ContributionBlock:
    """Read one record; raises msgspec.DecodeError or msgspec.ValidationError, as a bug of ours: the job stops."""
    return _decoder.decode(raw)
