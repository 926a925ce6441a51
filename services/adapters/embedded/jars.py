"""The broker's jars: which (by `jars.lock`), whether they are what the lock says, and where the class path is.

A warm start opens no network library: the jars lie in `<base>/kafka/libs`, and 45 MB are hashed in a few hundredths of
a second. Otherwise jgo fetches each locked coordinate from Maven Central (or as the machine's jgo configuration says)
into its cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import TYPE_CHECKING, Protocol

import msgspec

from services.adapters.embedded import files
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LOCK_FILE = "jars.lock"
FETCHERS = 16


class JarError(StillwatchError):
    """A jar is missing, or is not the one that was locked."""


class Jar(msgspec.Struct, frozen=True):
    """One locked jar: `coordinate` is group:artifact:version, `sha256` lower-case hex of the file's bytes."""

    coordinate: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The jar's name in the class path's directory."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


class Fetcher(Protocol):
    """Finds a jar's file by its coordinate; `discard` forgets a cached copy so that the next `fetch` gets it anew."""

    def fetch(self, coordinate: str) -> Path:
        """Return the path of the jar's file, downloading it when it is not in the cache."""

    def discard(self, coordinate: str) -> None:
        """Delete the cached copy, if any."""

    def lock_path(self) -> Path:
        """Return the file whose lock serialises processes that fill the same cache."""


def read_lock(text: str | None = None) -> tuple[Jar, ...]:
    """Read lines of `group:artifact:version sha256:hex` (`#` starts a comment).

    By default the lock that ships with the package.
    """
    if text is None:
        text = resources.files(__package__).joinpath(LOCK_FILE).read_text(encoding="ascii")
    jars = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        coordinate, _, digest = line.partition(" sha256:")
        if coordinate.count(":") != 2 or len(digest) != hashlib.sha256().digest_size * 2:  # noqa: PLR2004  # group:artifact:version has two colons
            raise JarError(
                f"{LOCK_FILE}: not a locked jar: {line!r}.",
                hint="Run `python -m services.adapters.embedded.lock_jars`.",
            )
        jars.append(Jar(coordinate=coordinate, sha256=digest))
    return tuple(jars)


def digest(path: Path) -> str:
    """Return the file's sha256 in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(jar: Jar, path: Path) -> bool:
    """Say whether the file is there and is the locked one."""
    return path.is_file() and digest(path) == jar.sha256


def install(
    libs: Path, jars: Sequence[Jar], fetcher: Callable[[], Fetcher], report: Callable[[str], None]
) -> list[Path]:
    """Return the class path, every jar verified; fetches what is missing or damaged and links it into `libs`.

    A fetched file that differs from the lock is fetched once more, past the cache; then JarError. Files in `libs` that
    the lock does not name are never on the class path.
    """
    wanting = [jar for jar in jars if not is_whole(jar, libs / jar.file_name)]
    if wanting:
        report(f"fetching {len(wanting)} of the broker's {len(jars)} jars")
        source = fetcher()
        libs.mkdir(parents=True, exist_ok=True)
        with files.locked(source.lock_path()), ThreadPoolExecutor(FETCHERS) as pool:
            for jar, path in zip(wanting, pool.map(lambda jar: _fetch(jar, source), wanting), strict=True):
                _place(path, libs / jar.file_name)
        report(f"verified {len(jars)} jars against {LOCK_FILE}")
    return [libs / jar.file_name for jar in jars]


def _fetch(jar: Jar, source: Fetcher) -> Path:
    path = source.fetch(jar.coordinate)
    if is_whole(jar, path):
        return path
    # A cached copy can be damaged, or half of a download that was cut off: one more try tells that from a wrong lock.
    source.discard(jar.coordinate)
    path = source.fetch(jar.coordinate)
    found = digest(path)
    if found != jar.sha256:
        source.discard(jar.coordinate)
        raise JarError(
            f"The jar {jar.coordinate} is not the one in {LOCK_FILE} (sha256 {found}, locked {jar.sha256}).",
            hint="Look at what serves Maven Central here (a mirror or proxy may alter files), then try again.",
        )
    return path


def _place(source: Path, target: Path) -> None:
    """Put a verified jar on the class path: a hard link where the file system can, else a copy; whole or not at all."""
    draft = target.with_name(f".{target.name}.part")
    draft.unlink(missing_ok=True)
    try:
        os.link(source, draft)
    except OSError:
        shutil.copyfile(source, draft)
    draft.replace(target)
