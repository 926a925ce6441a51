"""AccountWindow v1: one account over one hop, as history keeps it."""

from __future__ import annotations

import msgspec

from schemas.request_event import AccountIdentifier, Identifier


class AccountWindow(
    msgspec.Struct,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="type",
    tag="account_window.v1",
):
    """Totals of one closed hop, and the anomaly score of the account's features at its end (0..1, half-space trees)."""

    account: AccountIdentifier
    organization: Identifier = ""
    hop: int
    hop_end_unix_ms: int
    requests: int
    input_tokens: int
    output_tokens: int
    errors: int = 0
    total_requests: int  # Since the account was first seen.
    score: float = 0.0
    late: int = 0
