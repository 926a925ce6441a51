"""Free ports on the loopback address, chosen so that a restart can have the same one again."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from services.adapters.embedded import files
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes the ports of outgoing connections. A client that dials a dead broker's
# port from that range can be given that very port, connect to itself, and keep the broker from coming back.
LOWEST, HIGHEST = 15_000, 32_000
TRIES = 200
# Descriptors of the locks on this process's reserved ports; they go with the process.
_reserved: dict[int, int] = {}


def is_free(port: int) -> bool:
    """Say whether a server could listen on the port now; connections that linger from a former server do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _highest() -> int:
    try:
        first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return HIGHEST
    return min(HIGHEST, first_outgoing - 1) if first_outgoing > LOWEST + TRIES else HIGHEST


def choose(*preferred: int | None, taken: Iterable[int] = ()) -> int:
    """Return the first preferred port that is free and not in `taken`, else a random free one."""
    used = set(taken)
    for port in preferred:
        if port is not None and port not in used and is_free(port):
            return port
    highest = _highest()
    for _ in range(TRIES):
        port = LOWEST + secrets.randbelow(highest - LOWEST)
        if port not in used and is_free(port):
            return port
    raise StillwatchError(
        f"No free port on {LOOPBACK} between {LOWEST} and {highest}.", hint="Stop what listens there."
    )


def reserve(*preferred: int | None, taken: Iterable[int] = ()) -> int:
    """Choose a port, and keep every other process that reserves from it until this one ends.

    For ports on which a child listens only later: two products that start together would find the same one free.
    """
    folder = Path(tempfile.gettempdir()) / f"stillwatch-ports-{os.getuid()}"
    used = set(taken)
    while True:
        port = choose(*preferred, taken=used)
        if port in _reserved:
            return port
        descriptor = files.try_lock(folder / str(port))
        if descriptor is not None:
            _reserved[port] = descriptor
            return port
        used.add(port)
