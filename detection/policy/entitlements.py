"""Entitlements: who may harvest. A licence or an allowlist entry always wins over a score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from detection.outcomes import Member


class EntitlementLike(Protocol):
    """What ``schemas.entitlement.Entitlement`` tells; the core does not know the wire's type."""

    @property
    def entitlement_id(self) -> str: ...  # noqa: D102 - The wire's own words.
    @property
    def subject(self) -> str: ...  # noqa: D102 - Organisation or account, 16 hex digits.
    @property
    def valid_from_unix_ms(self) -> int: ...  # noqa: D102 - Inclusive.
    @property
    def valid_until_unix_ms(self) -> int: ...  # noqa: D102 - Exclusive.
    @property
    def grace_ms(self) -> int: ...  # noqa: D102 - After the end, in which it still holds.


class Validity(msgspec.Struct, frozen=True):
    """From ``start`` to before ``end``, ms since the epoch."""

    start: int
    end: int


class Entitlements:
    """Who is entitled when. The newest value of an entitlement id stands."""

    def __init__(self, known: dict[str, dict[str, Validity]] | None = None) -> None:
        self.known = known or {}

    def entitle(self, entitlement: EntitlementLike) -> None:
        """Add or replace one entitlement; one that ends before it begins is a withdrawal."""
        self.known.setdefault(entitlement.subject, {})[entitlement.entitlement_id] = Validity(
            entitlement.valid_from_unix_ms, entitlement.valid_until_unix_ms + entitlement.grace_ms
        )

    def covers(self, ids: Iterable[str], time_ms: int) -> bool:
        """Tell whether one of these organisations and accounts is entitled at ``time_ms``."""
        return any(
            validity.start <= time_ms < validity.end
            for subject in ids
            for validity in self.known.get(subject, {}).values()
        )

    def split(self, members: Sequence[Member], time_ms: int) -> tuple[list[Member], float]:
        """Give the members that are not entitled, and the entitled share of all members' requests."""
        entitled = [self.covers((member.customer, member.account), time_ms) for member in members]
        total = sum(member.requests for member in members)
        licensed = sum(member.requests for member, free in zip(members, entitled, strict=True) if free)
        rest = [member for member, free in zip(members, entitled, strict=True) if not free]
        return rest, licensed / total if total else 0.0
