"""Who looks at the page, as templates and handlers of the console know them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.adapters.postgres.lifecycle.acts import By
from services.api.guard import get_caller

if TYPE_CHECKING:
    from datetime import datetime

    from fastapi import Request

    from services.identity.roles import Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """A person at a browser. ``csrf`` goes into every form."""

    name: str
    tenant: str
    permissions: frozenset[str]
    csrf: str

    def may(self, permission: Permission) -> bool:
        """Tell whether this is allowed."""
        return permission in self.permissions

    def by(self, now: datetime) -> By:
        """Give who acts, for the life cycle."""
        return By(tenant=self.tenant, actor=self.name, now=now, oversees=self.may("alerts.oversee"))


def viewer_of(request: Request) -> Viewer:
    """Give who asks; the guard has let them in."""
    caller = get_caller(request)
    return Viewer(
        name=caller.actor, tenant=caller.tenant, permissions=frozenset(caller.permissions), csrf=caller.csrf or ""
    )
