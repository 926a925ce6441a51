"""Write `jars.lock` anew: `python -m services.adapters.embedded.lock_jars [FILE]`.

Run it after a change of a version in `maven.py`, read the difference, and commit it with that change.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.adapters.embedded import files, jars, maven

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = (
    "# The broker's class path, verified at every start. Written by `python -m services.adapters.embedded.lock_jars`.\n"
)


def render(locked: Sequence[jars.Jar]) -> str:
    """Return the lock's text, which `jars.read_lock` reads back to the same jars."""
    return HEADER + "".join(f"{jar.coordinate} sha256:{jar.sha256}\n" for jar in locked)


def main(arguments: Sequence[str]) -> int:
    """Resolve, hash and write; the file defaults to the one in this package."""
    target = Path(arguments[0]) if arguments else Path(__file__).with_name(jars.LOCK_FILE)
    text = render(maven.lock(maven.JgoFetcher()))
    files.write_whole(target, text.encode("ascii"), mode=0o644)
    sys.stdout.write(f"{target}: {len(jars.read_lock(text))} jars\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
