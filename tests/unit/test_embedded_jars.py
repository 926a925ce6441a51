from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from services.adapters.embedded import jars, lock_jars, maven

if TYPE_CHECKING:
    from pathlib import Path

GOOD = b"the locked bytes"
BAD = b"other bytes"
JAR = jars.Jar(coordinate="org.example:thing:1.0", sha256=hashlib.sha256(GOOD).hexdigest())


class Cache:
    """A jar cache whose remote answers with the given contents, one after the other."""

    def __init__(self, root: Path, *remote: bytes) -> None:
        self._root = root
        self._remote = list(remote)
        self.fetched = 0

    def _path(self, coordinate: str) -> Path:
        return self._root / coordinate.replace(":", "_")

    def fetch(self, coordinate: str) -> Path:
        path = self._path(coordinate)
        if not path.exists():
            self.fetched += 1
            path.write_bytes(self._remote.pop(0))
        return path

    def discard(self, coordinate: str) -> None:
        self._path(coordinate).unlink(missing_ok=True)

    def lock_path(self) -> Path:
        return self._root / ".lock"


def no_fetcher() -> jars.Fetcher:
    raise AssertionError("a warm start fetches nothing")


def install(libs: Path, cache: Cache) -> list[Path]:
    return jars.install(libs, [JAR], lambda: cache, lambda _line: None)


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


def test_the_shipped_lock_names_the_broker_and_its_tools() -> None:
    locked = jars.read_lock()
    coordinates = {jar.coordinate for jar in locked}
    assert {*maven.ROOTS, *maven.TOOLS} <= coordinates
    assert len(coordinates) == len(locked) == 47
    assert len({jar.file_name for jar in locked}) == len(locked)


def test_the_lock_reads_back_as_it_was_written() -> None:
    assert jars.read_lock(lock_jars.render([JAR])) == (JAR,)


@pytest.mark.parametrize("line", ["org.example:thing:1.0", "thing sha256:" + "0" * 64, f"{JAR.coordinate} sha256:abc"])
def test_a_line_that_locks_nothing_is_refused(line: str) -> None:
    with pytest.raises(jars.JarError, match="not a locked jar"):
        jars.read_lock(line)


def test_a_missing_jar_is_fetched_and_the_second_time_nothing_is(tmp_path: Path, cache_dir: Path) -> None:
    libs = tmp_path / "libs"
    assert install(libs, Cache(cache_dir, GOOD)) == [libs / "thing-1.0.jar"]
    assert (libs / "thing-1.0.jar").read_bytes() == GOOD
    assert jars.install(libs, [JAR], no_fetcher, lambda _line: None) == [libs / "thing-1.0.jar"]


def test_a_damaged_copy_in_the_cache_is_fetched_anew_once(tmp_path: Path, cache_dir: Path) -> None:
    cache = Cache(cache_dir, GOOD)
    (cache_dir / "org.example_thing_1.0").write_bytes(GOOD[:3])
    (path,) = install(tmp_path / "libs", cache)
    assert path.read_bytes() == GOOD
    assert cache.fetched == 1


def test_a_jar_that_is_not_the_locked_one_is_refused_and_not_kept(tmp_path: Path, cache_dir: Path) -> None:
    cache = Cache(cache_dir, BAD, BAD, BAD)
    with pytest.raises(jars.JarError, match=r"org\.example:thing:1\.0 is not the one in jars\.lock"):
        install(tmp_path / "libs", cache)
    assert cache.fetched == 2
    assert not list((tmp_path / "libs").iterdir())
    assert not (cache_dir / "org.example_thing_1.0").exists()


def test_a_jar_damaged_after_its_installation_is_replaced(tmp_path: Path, cache_dir: Path) -> None:
    libs = tmp_path / "libs"
    libs.mkdir()
    (libs / JAR.file_name).write_bytes(BAD)
    (path,) = install(libs, Cache(cache_dir, GOOD))
    assert path.read_bytes() == GOOD


def test_a_named_bundle_is_kept_and_else_the_machines_own_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.pem"
    store.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(store))
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "named.pem")
    maven.trust_the_machine()
    assert os.environ["REQUESTS_CA_BUNDLE"] == "named.pem"
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    maven.trust_the_machine()
    assert os.environ["REQUESTS_CA_BUNDLE"] == str(store)
