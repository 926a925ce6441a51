"""Alert v1: what downstream services subscribe to. Keyed by ``alert_id``; a higher revision replaces a lower one."""

from __future__ import annotations

import msgspec

from detection.outcomes import Alert, Evidence, FindingReference, Member

__all__ = ["Alert", "Evidence", "FindingReference", "Member", "decode_alert", "encode_alert"]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Alert)


def encode_alert(alert: Alert) -> bytes:
    """Write an alert as JSON; equal alerts give equal bytes, so live and backtest can be compared."""
    return _encoder.encode(alert)


def decode_alert(raw: bytes) -> Alert:
    """Read an alert; raises msgspec.DecodeError or msgspec.ValidationError."""
    return _decoder.decode(raw)
