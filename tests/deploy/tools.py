"""Programs that judge what is under deploy/, and toxiproxy: made once for a machine, in the user's cache directory.

``helm``, ``kubeconform``, toxiproxy and Compose's loader are built from their Go modules, ``promtool`` and
``prometheus`` come out of Debian's package, which is unpacked and not installed. Where one cannot be had, the tests
that want it say so and are skipped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stillwatch-tools"
MODULES = {
    "helm": "helm.sh/helm/v4/cmd/helm@v4.3.1",
    "compose-go": "github.com/compose-spec/compose-go/v2/cmd@v2.16.2",
    "toxiproxy": "github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0",
}
BUILD_SECONDS = 800


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """Give the folder of this name, made by ``make`` under a lock where there is none yet."""
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / name
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = CACHE / f"{name}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            make(fresh)
            fresh.rename(folder)
    return folder


def _run(line: list[str], folder: Path, **environment: str) -> None:
    done = subprocess.run(
        line,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        pytest.skip(f"{' '.join(line)} does not work here: {(done.stderr.strip() or 'no word').splitlines()[-1]}")


def go_tool(name: str) -> Path:
    """Give a program of ``MODULES``; skips where Go or the module proxy is missing."""
    module = MODULES[name]
    go = shutil.which("go")
    kept = f"{name}-{module.rpartition('@')[2]}"
    if go is None and not (CACHE / kept).exists():
        pytest.skip(f"no Go here to build {name} with")

    def build(folder: Path) -> None:
        settings = {"GOBIN": str(folder), "GOFLAGS": "-modcacherw", "CGO_ENABLED": "0"}
        _run([str(go), "install", "-trimpath", module], folder, **settings)

    return _kept(kept, build) / module.partition("@")[0].rpartition("/")[2]


def prometheus_tool(name: str) -> Path:
    """Give ``promtool`` or ``prometheus``: what is installed, else Debian's; skips where neither can be had."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    if shutil.which("apt-get") is None and not (CACHE / "prometheus").exists():
        pytest.skip(f"{name} is not here, and no apt-get to get it with")

    def unpack(folder: Path) -> None:
        have = subprocess.run(["apt-get", "download", "prometheus"], cwd=folder, capture_output=True, check=False)
        if have.returncode:  # A new machine has no list of packages yet; only root may fetch one.
            _run(["apt-get", "update", "-qq"], folder)
            _run(["apt-get", "download", "prometheus"], folder)
        (package,) = folder.glob("prometheus_*.deb")
        _run(["dpkg", "-x", package.name, "."], folder)
        package.unlink()

    return _kept("prometheus", unpack) / "usr" / "bin" / name


def node_packages(*packages: str) -> Path:
    """Give a folder with these npm packages under ``node_modules``; skips where npm or its registry is missing."""
    kept = "node-" + "-".join(package.strip("@").replace("/", "-").replace("@", "-") for package in packages)
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("no Node.js here to read Grafana's types with")

    def install(folder: Path) -> None:
        (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
        _run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", *packages], folder)

    return _kept(kept, install)
