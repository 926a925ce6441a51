"""One question in Kafka's own protocol, so that readiness needs no client library: how many brokers are alive."""

from __future__ import annotations

import socket
import struct

# Kafka's Metadata request, version 1, about no topic; the answer begins with the array of brokers.
METADATA, VERSION, CORRELATION, NO_CLIENT_ID, NO_TOPICS = 3, 1, 7, -1, 0
REQUEST = struct.pack(">hhihi", METADATA, VERSION, CORRELATION, NO_CLIENT_ID, NO_TOPICS)
HEAD = struct.Struct(">iii")  # bytes that follow, correlation id, number of brokers


def living_brokers(host: str, port: int, timeout: float = 1.0) -> int:
    """Return how many brokers the one at this address knows to be alive.

    0 when it does not answer as a broker would.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.sendall(struct.pack(">i", len(REQUEST)) + REQUEST)
            answer = b""
            while len(answer) < HEAD.size:
                part = connection.recv(HEAD.size - len(answer))
                if not part:
                    return 0
                answer += part
    except OSError:
        return 0
    _, correlation, brokers = HEAD.unpack(answer)
    return int(brokers) if correlation == CORRELATION else 0
