"""Where a webhook may go: a name is resolved once, every address is looked at, and the connection is made to that one.

Whoever may name a target could otherwise reach what only this machine can: metadata services, databases, loopback. A
name that answers differently the second time gains nothing, and redirects are not followed.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Resolve = Callable[[str, int], Sequence[str]]

_NAT64: Final = ("64:ff9b::", "64:ff9b:1:")


class TargetRefusedError(StillwatchError):
    """A webhook's address is not one that this service may call."""

    hint = "Name a public https address, or allow private ones with STILLWATCH_WEBHOOK_PRIVATE_TARGETS=true."


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart, and the one address that its name stood for when it was looked up."""

    secure: bool
    host: str
    port: int
    path: str
    address: str


def resolve(host: str, port: int) -> list[str]:
    """Ask the system for a name's addresses; raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def find_target(url: str, *, allow_private: bool, look_up: Resolve = resolve) -> Target:
    """Check a URL and resolve its name; raises TargetRefusedError. One bad address among several refuses the name."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TargetRefusedError("the URL cannot be read") from error
    host = parts.hostname
    if parts.scheme not in {"http", "https"} or not host or parts.username or parts.password or parts.fragment:
        raise TargetRefusedError("the URL is not http(s)://host/path without a login")
    if parts.scheme == "http" and not allow_private:
        raise TargetRefusedError("the URL is not https")
    secure = parts.scheme == "https"
    port = port or (443 if secure else 80)
    try:
        addresses = list(look_up(host, port))
    except OSError as error:
        raise TargetRefusedError(f"the name of the target has no address ({type(error).__name__})") from error
    if not addresses or not all(allow_private or is_public(address) for address in addresses):
        raise TargetRefusedError("the target is a private, link-local, loopback or reserved address")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(secure, host, port, path, addresses[0])


def is_public(text: str) -> bool:
    """Tell whether an address belongs to the public internet, whatever it is wrapped in."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and str(address).startswith(_NAT64):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
    return address.is_global and not address.is_multicast


def post(target: Target, body: bytes, headers: Mapping[str, str], seconds: float) -> int:
    """Send a body to the address that was checked, under the target's own name; gives the status.

    Raises OSError or http.client.HTTPException where no answer comes within ``seconds``.
    """
    connection = _Pinned(target, seconds)
    try:
        connection.request("POST", target.path, body, dict(headers))
        response = connection.getresponse()
        response.read(4096)  # What it says is nobody's to log.
        return response.status
    finally:
        connection.close()


class _Pinned(http.client.HTTPConnection):
    """Connects to the address that was checked; the certificate must be the name's."""

    def __init__(self, target: Target, seconds: float) -> None:
        super().__init__(target.host, target.port, timeout=seconds)
        self._target = target

    def connect(self) -> None:
        raw = socket.create_connection((self._target.address, self._target.port), self.timeout)
        if self._target.secure:
            raw = ssl.create_default_context().wrap_socket(raw, server_hostname=self._target.host)
        self.sock = raw
