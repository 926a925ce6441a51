"""The credential among a request's logged headers: it names the account where the gateway names none.

It is keyed like any raw value and goes no further. Names are compared without regard to case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.gateway.parsed import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADERS: Final = ("authorization", "x-api-key", "api-key", "apikey")
_HIDDEN: Final = frozenset(("redacted", "[redacted]", "***"))


def bearer(header: str) -> str:
    """Give what follows ``Bearer``; another header's value is the credential as it is."""
    kind, _, rest = header.strip().partition(" ")
    return rest.strip() if kind.lower() == "bearer" else header.strip()


def credential_of(headers: Mapping[str, Any]) -> str:
    """Give the credential of the first header that has one; "" where none has, or where the gateway hid it."""
    lowered = {name.lower(): as_text(value) for name, value in headers.items()}
    for name in HEADERS:
        found = bearer(lowered.get(name, ""))
        if found and found.lower() not in _HIDDEN:
            return found
    return ""
