"""AccountAttributes v1: what the operator's own database knows of an account. Compacted, keyed by account."""

from __future__ import annotations

import msgspec

from schemas.request_event import AccountIdentifier, Identifier, TimeMs


class AccountAttributes(
    msgspec.Struct,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
    tag_field="type",
    tag="account_attributes.v1",
):
    """Attributes as keyed identifiers. Everything but the account may be unknown; detection then has less power."""

    account: AccountIdentifier
    created_at_unix_ms: TimeMs = 0
    organization: Identifier = ""
    verified: bool = False
    payment: Identifier = ""
    signup_network: Identifier = ""
