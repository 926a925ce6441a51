"""Roles and permissions: two closed tables. A person has any set of roles, a key for a machine a set of permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

Role: TypeAlias = Literal["viewer", "analyst", "lead", "engineer", "publisher", "admin"]
Permission: TypeAlias = Literal[
    "alerts.read",  # Alerts, campaigns, accounts, labels, entitlements, quality.
    "alerts.act",  # Claim, judge, snooze, comment, close; bulk; undo of one's own acts.
    "alerts.oversee",  # Take over another's claim, undo another's act, settle a disagreement.
    "entitlements.propose",
    "entitlements.approve",  # Never one's own proposal.
    "decisions.read",  # The signed stream for gateways without Kafka.
    "decisions.propose",
    "decisions.approve",  # Never one's own proposal.
    "detection.configure",  # Candidate configurations and thresholds, in shadow.
    "detection.publish",  # Never one's own candidate, and no head that one's own verdicts have taught.
    "audit.read",
    "users.manage",
    "keys.manage",
]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
PERMISSIONS: Final[tuple[Permission, ...]] = get_args(Permission)

_READ: Final[frozenset[Permission]] = frozenset({"alerts.read", "decisions.read"})
_ACT: Final[frozenset[Permission]] = _READ | {"alerts.act", "entitlements.propose", "decisions.propose"}
GRANTS: Final[dict[Role, frozenset[Permission]]] = {
    "viewer": _READ,
    "analyst": _ACT,
    "lead": _ACT | {"alerts.oversee", "entitlements.approve", "decisions.approve", "audit.read"},
    "engineer": _READ | {"detection.configure"},
    "publisher": _READ | {"detection.publish"},
    # Who manages users does not thereby judge alerts: one person may have both roles, and the audit shows which.
    "admin": _READ | {"audit.read", "users.manage", "keys.manage"},
}


def permissions_of(roles: Iterable[str]) -> frozenset[Permission]:
    """Join what these roles may do; a name that is no role grants nothing."""
    granted: frozenset[Permission] = frozenset()
    for role in ROLES:
        if role in roles:
            granted |= GRANTS[role]
    return granted
