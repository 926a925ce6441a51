"""Decision v1: what gateways should do with an account. Compacted, keyed by account; the newest stands."""

from __future__ import annotations

from typing import Literal

import msgspec

Action = Literal["allow", "observe", "throttle", "trim", "challenge", "block"]


class Decision(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="decision.v1"
):
    """``dry_run`` decisions are shown and never enforced. ``alert_id`` is the evidence; expiry is mandatory."""

    decision_id: str
    account: str
    action: Action
    reason_codes: list[str]
    alert_id: str
    decided_at: str  # RFC 3339.
    expires_at: str
    dry_run: bool
