"""A disk that is really full: a file system of a few megabytes, and a ballast that takes all of it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_INSIDE: Final = "CRASH_TRIALS_INSIDE_A_NAMESPACE"
_BLOCK: Final = bytes(1 << 16)


class SmallDisk:
    """A tmpfs of ``megabytes`` at ``path``; needs the right to mount, see ``with_right_to_mount``."""

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        self._ballast = path / "ballast"
        path.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "stillwatch", path], check=True)

    def fill(self) -> int:
        """Write until the kernel says ENOSPC; gives the bytes written."""
        written = 0
        with self._ballast.open("ab", buffering=0) as ballast:
            while True:
                try:
                    written += ballast.write(_BLOCK) or 0
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    return written

    def free(self) -> None:
        """Take the ballast away."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the file system go; what still holds it open keeps it until its end."""
        subprocess.run(["umount", "-l", self.path], check=True)


def with_right_to_mount(arguments: list[str]) -> bool:
    """Tell whether this process may mount; one that may not becomes the same command in a user namespace of its own.

    False where the kernel grants neither.
    """
    if sys.platform != "linux" or not shutil.which("mount"):
        return False
    if os.geteuid() == 0:
        return _can_mount(["sh", "-c"])
    if _INSIDE in os.environ or not shutil.which("unshare") or not _can_mount(["unshare", "-rm", "sh", "-c"]):
        return False
    os.environ[_INSIDE] = "1"
    os.execvp("unshare", ["unshare", "-rm", sys.executable, "-m", "tests.crash", *arguments])  # noqa: S606 - itself
    return None


def _can_mount(shell: list[str]) -> bool:
    """Mount something small, and nothing that stays."""
    script = 'd=$(mktemp -d) && mount -t tmpfs -o size=1m tmpfs "$d" && umount "$d"; s=$?; rmdir "$d"; exit $s'
    return subprocess.run([*shell, script], capture_output=True, check=False).returncode == 0


def mounted(path: Path) -> bool:
    """Whether something is mounted there."""
    return path.is_dir() and Path(path).is_mount()
