"""Entitlement v1: a customer's licence to distil, or an allowlist entry. Compacted by subject; it always wins."""

from __future__ import annotations

from typing import Literal

import msgspec


class Entitlement(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="entitlement.v1"
):
    """``subject`` is an organisation or an account (16 hex digits). Times are ms since the epoch.

    It holds for ``grace_ms`` after its end, so that a contract that is renewed late ends nothing.
    """

    entitlement_id: str
    subject_kind: Literal["account", "organization"]
    subject: str
    kind: Literal["licence", "allowlist"]
    valid_from_unix_ms: int
    valid_until_unix_ms: int
    grace_ms: int = 0
