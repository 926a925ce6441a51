"""Contribution blocks: the shuffle between the accounts and the pools job. Internal, columnar, versioned.

One record carries what one partition of the accounts job adds to one partition of the pools job since the last
checkpoint: rows of ``detection.columns.CONTRIBUTION`` and of ``SINGLE``, and the last hop that the source has closed.
Rows add up, so where blocks are cut changes nothing. ``closed_hop`` counts once the rows of the same record are in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detection.columns import CONTRIBUTION, SINGLE
from detection.pools.contributions import Contributions

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION: Final = 2
MAXIMUM_BYTES: Final = 900_000  # Under Kafka's default limit of 1 MiB a record.
_ROWS: Final = MAXIMUM_BYTES // CONTRIBUTION.itemsize
_SINGLES: Final = MAXIMUM_BYTES // SINGLE.itemsize


class ContributionBlock(msgspec.Struct, frozen=True, array_like=True, tag=f"contributions.v{VERSION}"):
    """``closed_hop`` is -1 where the source has closed none yet."""

    source_partition: int
    closed_hop: int
    rows: bytes
    singles: bytes

    def contributions(self) -> Contributions:
        """Give the rows as arrays, read-only."""
        return Contributions(np.frombuffer(self.rows, CONTRIBUTION), np.frombuffer(self.singles, SINGLE))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ContributionBlock)


def encode_blocks(source_partition: int, closed_hop: int, previous_hop: int, rows: Contributions) -> Iterator[bytes]:
    """Cut rows into records. Only the last one carries ``closed_hop``; those before it carry ``previous_hop``."""
    for part, last in _cut(rows):
        hop = closed_hop if last else previous_hop
        block = ContributionBlock(source_partition, hop, part.rows.tobytes(), part.singles.tobytes())
        yield _encoder.encode(block)


def _cut(rows: Contributions) -> Iterator[tuple[Contributions, bool]]:
    if rows.rows.nbytes + rows.singles.nbytes <= MAXIMUM_BYTES:
        yield rows, True
        return
    parts = [Contributions(rows=rows.rows[start : start + _ROWS]) for start in range(0, len(rows.rows), _ROWS)]
    singles = rows.singles
    parts += [Contributions(singles=singles[start : start + _SINGLES]) for start in range(0, len(singles), _SINGLES)]
    for number, part in enumerate(parts, 1):
        yield part, number == len(parts)


def decode_block(raw: bytes) -> ContributionBlock:
    """Read one record; raises msgspec.DecodeError or msgspec.ValidationError, as a bug of ours: the job stops."""
    return _decoder.decode(raw)
