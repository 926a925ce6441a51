"""Prepare an embedded service and become it: `python -m services.adapters.embedded kafka|postgres BASE_DIR PORT`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.adapters.embedded import EmbeddedKafka, EmbeddedPostgres
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.adapters.embedded.server import EmbeddedServer

SERVERS: dict[str, type[EmbeddedServer]] = {server.name: server for server in (EmbeddedKafka, EmbeddedPostgres)}


def say(line: str) -> None:
    """Tell one line at once: after this process has become the server nobody would flush it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Become the server; returns only when it cannot be prepared, with the error on one line."""
    name, base_dir, port = arguments
    try:
        SERVERS[name](Path(base_dir), port=int(port), report=say).become()
    except StillwatchError as error:
        say(f"{error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
