"""Rules for routes: what a caller needs. A route without a rule is closed to everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from services.identity.principal import Principal
    from services.identity.roles import Permission


@dataclass(frozen=True, slots=True)
class Rule:
    """``public`` asks for nothing. Else somebody must be known, and may need a permission."""

    public: bool = False
    permission: Permission | None = None

    def admits(self, caller: Principal | None) -> bool:
        """Tell whether this caller may go on."""
        if self.public:
            return True
        return caller is not None and (self.permission is None or caller.may(self.permission))


PUBLIC: Final = Rule(public=True)
SIGNED_IN: Final = Rule()


def may(permission: Permission) -> Rule:
    """Ask for one permission."""
    return Rule(permission=permission)
