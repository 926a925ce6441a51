"""Who asks: a person in a browser, or a machine with a key. Everything that acts takes the actor's name from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from services.identity.roles import Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """``actor`` is the name in labels and audit: the user's name, or "key:" and the key's id.

    ``csrf`` must come back with every unsafe request of a browser; None for keys, which no browser sends by itself.
    """

    tenant: str
    actor: str
    kind: Literal["user", "key"]
    roles: frozenset[str]
    permissions: frozenset[Permission]
    csrf: str | None = None

    def may(self, permission: Permission) -> bool:
        """Tell whether this is allowed."""
        return permission in self.permissions
