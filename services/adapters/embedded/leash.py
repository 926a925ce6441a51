"""A launcher that ties a command's life to its parent's, so that `kill -9` of the parent leaves no orphan.

Run by path, `python -I -S leash.py PARENT SIGNAL FLAGS COMMAND...`, with the standard library only: 15 ms, and no
import path to get wrong. On Linux it asks the kernel to send SIGNAL when the parent dies and then *becomes* the
command, so the pid that the parent knows is the command's own. Elsewhere it stays as the command's parent and watches
its own; signals are passed on.

FLAGS is a comma-separated list, `-` for none. `watch` takes the second way on Linux too. Two of them are for Postgres,
which refuses to run as root: `namespace` shows root to the command as the account `nobody` inside a user namespace
(files keep their owner), `account` becomes `nobody` for good (its files must belong to `nobody` beforehand).

The kernel's notice follows the *thread* that forked: fork from one that lives as long as the process (`processes.spawn`
does).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
UNPRIVILEGED = "nobody"
CANNOT_RUN = 126
NOT_FOUND = 127
PARENT_GONE = 143
WATCH_SECONDS = 0.2
GRACE_SECONDS = 5.0


def libc_call(name: str, *args: int) -> None:
    """Call a libc function that returns 0 or sets errno; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def enter_namespace() -> None:
    """Show root as `nobody` to this process and its children; what root owns, `nobody` then seems to own."""
    account = pwd.getpwnam(UNPRIVILEGED)
    user, group = os.geteuid(), os.getegid()
    libc_call("unshare", CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{account.pw_uid} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{account.pw_gid} {group} 1", encoding="ascii")


def become_account() -> None:
    """Give up root for the account `nobody`."""
    account = pwd.getpwnam(UNPRIVILEGED)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def watch(command: list[str], parent: int, death_signal: int) -> int:
    """Run the command as a child until it ends or the parent dies.

    Returns its exit code, 128 + n when signal n ended it.
    """
    child = os.posix_spawnp(command[0], command, os.environ)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    killed_at: float | None = None
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if os.getppid() != parent:
            if killed_at is None:
                killed_at = time.monotonic()
                os.kill(child, death_signal)
            elif time.monotonic() - killed_at > GRACE_SECONDS:
                os.kill(child, signal.SIGKILL)
        time.sleep(WATCH_SECONDS)


def main(arguments: list[str]) -> int:
    """Bind the command to the parent and run it.

    Returns only when it stayed as the command's parent or could not start it.
    """
    parent, death_signal = int(arguments[0]), int(arguments[1])
    flags, command = set(arguments[2].split(",")), arguments[3:]
    try:
        if "namespace" in flags:
            enter_namespace()
        if "account" in flags:
            become_account()
        if sys.platform != "linux" or "watch" in flags:
            return watch(command, parent, death_signal)
        # After any change of credentials, for the kernel forgets the wish on such a change.
        libc_call("prctl", PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            return PARENT_GONE
        os.execvp(command[0], command)  # noqa: S606  # the command is the caller's; there is no shell in between
    except FileNotFoundError:
        sys.stderr.write(f"cannot start {command[0]}: no such file\n")
        return NOT_FOUND
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error}\n")
        return CANNOT_RUN


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
