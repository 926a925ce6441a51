"""Key files are their owner's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS_WRITE: Final = 0o022
_OTHERS_READ: Final = 0o044
_OTHERS_PASS: Final = 0o011
_MOUNTED: Final = "/run/secrets"  # There the container is the border, and its processes are not the files' owners.


def check_key_file(path: Path) -> None:
    """Raise ConfigurationError where others may write the file, or can reach and read it."""
    mode, folder = path.stat().st_mode, path.parent.stat().st_mode
    readable = mode & _OTHERS_READ and folder & _OTHERS_PASS and not path.is_relative_to(_MOUNTED)
    if mode & _OTHERS_WRITE or readable:
        raise ConfigurationError(f"{path} is open to others", f"Close it: chmod 600 {path}")
