"""Loops compiled to machine code: integers only, so that they give what the same loop in Python would give.

What is compiled is kept beside the sources, or in the user's cache directory where these cannot be written to, under a
digest of the modules that hold the loops and of all that these import: numba itself looks at the file of the loop only,
and would go on with a constant or a callee of another file as it was.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import numba
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

# To numba, numpy's integers and Python's are one type; to a type checker they are many.
Whole: TypeAlias = Any
Words: TypeAlias = NDArray[Any]
_settings: Any = numba.config
_Function = TypeVar("_Function", bound="Callable[..., object]")
_IMPORT: Final = re.compile(rb"^ *from (detection[.\w]*) import ([\w, ]*)", re.MULTILINE)
_ROOM: Final = Path(__file__).parent


def _texts() -> list[bytes]:
    """Give the text of every module with a compiled loop, and of all that these import from the package."""
    texts = {path: path.read_bytes() for path in _ROOM.rglob("*.py")}
    found = {path for path, text in texts.items() if b"\nfrom detection.compiled import" in text}
    waiting = list(found)
    while waiting:
        for module in _IMPORT.findall(texts[waiting.pop()]):
            names = [module[0], *(module[0] + b"." + name.strip() for name in module[1].split(b","))]
            for name in names:
                path = _ROOM.parent / (name.decode().replace(".", "/") + ".py")
                if path in texts and path not in found:
                    found.add(path)
                    waiting.append(path)
    return [texts[path] for path in sorted(found)]


def _cache_directory() -> str:
    digest = hashlib.blake2b(digest_size=8)
    for text in _texts():
        digest.update(text)
    for parent in (_ROOM / "__pycache__", Path.home() / ".cache" / "stillwatch"):
        place = parent / f"compiled-{digest.hexdigest()}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            (place / ".writable").touch()
        except OSError:
            continue
        return str(place)
    return ""


def _keeps() -> bool:
    # An operator's own NUMBA_CACHE_DIR stands.
    if not _settings.CACHE_DIR:
        _settings.CACHE_DIR = _cache_directory()
    return bool(_settings.CACHE_DIR)


_KEPT: Final = _keeps()


def compiled(function: _Function) -> _Function:
    """Compile at the first call, for the types of that call; later processes find the result. No bounds are checked."""
    compiler: Any = numba.njit(cache=_KEPT, nogil=True, error_model="numpy")
    made: _Function = compiler(function)
    return made
