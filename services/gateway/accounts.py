"""The operator's account file to AccountAttributes v1: one JSON object a line.

    {"account": "...", "created_at": "2026-01-31T12:00:00Z", "organization": "...", "verified": true,
     "payment": "...", "signup_ip": "203.0.113.7"}

``account`` is the raw value that the gateway's records carry; ``created_at`` is RFC 3339 or epoch seconds; ``payment``
is whatever tells one payer from another. All but ``account`` may be null or absent. Values are keyed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.account_attributes import AccountAttributes
from services.gateway.formats.openai import read_time
from services.gateway.lines import read_objects
from services.gateway.parsed import RejectedRecord, as_text
from services.gateway.sources import RejectedLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.gateway.identity import Identity


def read_accounts(path: Path, identity: Identity) -> Iterator[AccountAttributes | RejectedLine]:
    """Give one item for each record of the file, in its order; raises SourceFileError where it cannot be read."""
    for number, record in read_objects(path):
        try:
            if isinstance(record, RejectedRecord):
                raise record
            yield to_attributes(record, identity)
        except RejectedRecord as rejected:
            yield RejectedLine(number, rejected.reason, rejected.detail)


def to_attributes(record: dict[str, Any], identity: Identity) -> AccountAttributes:
    """Key one record; raises RejectedRecord: ``no_account``, ``no_time`` or ``schema``."""
    account = as_text(record.get("account"))
    if not account:
        raise RejectedRecord("no_account", "account is empty")
    verified = record.get("verified") or False
    if not isinstance(verified, bool):
        raise RejectedRecord("schema", "verified is neither true nor false")
    created_at = record.get("created_at")
    _, network = identity.places(as_text(record.get("signup_ip")))
    return AccountAttributes(
        account=identity.account(account),
        created_at_unix_ms=0 if created_at is None else read_time(created_at),
        organization=identity.identifier("organization", as_text(record.get("organization"))),
        verified=verified,
        payment=identity.identifier("payment", as_text(record.get("payment"))),
        signup_network=network,
    )
