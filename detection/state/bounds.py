"""What a bounded state lets go: who was silent for too long, and the least recent above a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

_Key = TypeVar("_Key", int, str)


def outdated(last_hops: Mapping[_Key, int], oldest: int, most: int) -> list[_Key]:
    """Give the keys last seen before hop ``oldest``, and the least recent others until ``most`` are left.

    Of equal hops the smallest keys go first, so that the order of arrival changes nothing.
    """
    gone = sorted(key for key, hop in last_hops.items() if hop < oldest)
    excess = len(last_hops) - len(gone) - most
    return sorted(last_hops, key=lambda key: (last_hops[key], key))[: len(gone) + excess] if excess > 0 else gone
