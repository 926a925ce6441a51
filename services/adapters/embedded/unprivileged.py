"""How to run a server that refuses to run as root when everything here runs as root (a container, a build machine)."""

from __future__ import annotations

import functools
import os
import platform
import pwd
import shutil
from typing import TYPE_CHECKING

from services.adapters.embedded import processes
from services.adapters.embedded.leash import UNPRIVILEGED

if TYPE_CHECKING:
    from pathlib import Path

NAMESPACE = "namespace"
ACCOUNT = "account"


@functools.cache
def flags() -> tuple[str, ...]:
    """Return the leash's flags.

    None for an ordinary user, a user namespace where the kernel grants one, else another account.
    """
    if os.geteuid() != 0:
        return ()
    if platform.system() == "Linux":
        code, _ = processes.run(["true"], flags=[NAMESPACE])
        if code == 0:
            return (NAMESPACE,)
    return (ACCOUNT,)


def hand_over(directory: Path) -> None:
    """Make every file below the directory belong to whom the flags will run the server as."""
    if os.geteuid() != 0:
        return
    owner = pwd.getpwnam(UNPRIVILEGED) if flags() == (ACCOUNT,) else pwd.getpwuid(0)
    for path in (directory, *directory.rglob("*")):
        if path.lstat().st_uid != owner.pw_uid:
            shutil.chown(path, owner.pw_uid, owner.pw_gid)
