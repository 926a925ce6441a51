"""Free ports on the loopback address, chosen so that a restart can have the same one again."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes the ports of outgoing connections. A client that dials a dead broker's
# port from that range can be given that very port, connect to itself, and keep the broker from coming back.
LOWEST, HIGHEST = 15_000, 32_000
TRIES = 200


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
