"""Decision v1: what gateways should do with an account, a campaign's members, an organisation, or with all of them.

Signed by the issuer with Ed25519 over ``signing_input``: a gateway holds public keys only and can forge nothing. The
record's key on the compacted topic is ``subject_kind:subject``; of one subject the highest ``sequence`` stands.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from detection.policy.decisions import SubjectKind
from detection.policy.ladder import Action, Limits, Trim

__all__ = ["Action", "Decision", "Limits", "SubjectKind", "Trim", "decision_key", "signing_input"]

_CONTEXT: Final = b"stillwatch/decision/v1\x00"
_canonical: Final = msgspec.json.Encoder(order="sorted")
Account = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}(?!\n)$")]
Code = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Decision(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="decision.v1"
):
    """``dry_run`` decisions are shown and never enforced; expiry is mandatory; ``evidence_id`` is the alert's id.

    An ``allow`` wins over every restriction of any subject; else the strongest restriction holds. ``allow`` for the
    subject ``tenant`` is the kill switch. ``sequence`` rises with every decision of a tenant: what is not above the
    last one known for its subject is a replay. Moments are RFC 3339; a decision holds from ``effective_at`` to before
    ``expires_at``.
    """

    decision_id: Identifier
    subject_kind: SubjectKind
    subject: Identifier
    members: list[Account]
    action: Action
    limits: Limits | None
    trim: Trim | None
    reason_codes: list[Code]
    evidence_id: str
    issued_at: str
    effective_at: str
    expires_at: str
    dry_run: bool
    sequence: int
    key_id: str
    signature: str  # Ed25519, 64 bytes in hexadecimal.


def decision_key(subject_kind: str, subject: str) -> str:
    """Give the key under which a subject's decisions stand on the topic."""
    return f"{subject_kind}:{subject}"


def signing_input(decision: Decision, tenant: str) -> bytes:
    """Give the bytes that are signed: a context, the tenant, and the record without its signature as canonical JSON.

    Canonical as RFC 8785 says; since the record holds only ASCII names, strings, booleans and whole numbers, that is
    JSON without blanks, names sorted, UTF-8.
    """
    fields = msgspec.to_builtins(decision)
    del fields["signature"]
    return _CONTEXT + tenant.encode() + b"\x00" + _canonical.encode(fields)
