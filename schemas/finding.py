"""Finding v1 and SourceClosed v1: what the partition jobs tell the incidents job. Internal, one partition."""

from __future__ import annotations

import msgspec

from detection.outcomes import Finding, SourceClosed

__all__ = ["Finding", "SourceClosed", "decode_finding", "encode_finding"]

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Finding | SourceClosed] = msgspec.json.Decoder(Finding | SourceClosed)


def encode_finding(record: Finding | SourceClosed) -> bytes:
    """Write one record as JSON; equal values give equal bytes."""
    return _encoder.encode(record)


def decode_finding(raw: bytes) -> Finding | SourceClosed:
    """Read one record; raises msgspec.DecodeError or msgspec.ValidationError."""
    return _decoder.decode(raw)
