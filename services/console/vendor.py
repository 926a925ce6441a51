"""``python -m services.console.vendor [--check]``: fetch the page's libraries from the npm registry, or check them.

The pages load nothing from elsewhere, so these files are part of the product: pinned versions, each with its licence,
npm's own integrity of the package it came from, and the SHA-256 of the file as it lies here. ``--check`` needs no
network. ECharts is built down to the one chart that is used, the graph, by a pinned esbuild.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static" / "vendor"
ROOT: Final = Path(__file__).parents[2]
AXE: Final = ROOT / "tests" / "browser" / "vendor"
MANIFEST: Final = "manifest.json"
ESBUILD: Final = "0.28.1"
GRAPH_ENTRY: Final = """\
import { use, init } from "echarts/core";
import { GraphChart } from "echarts/charts";
import { CanvasRenderer } from "echarts/renderers";
use([GraphChart, CanvasRenderer]);
globalThis.echarts = { init };
"""


@dataclass(frozen=True, slots=True)
class Library:
    """One npm package: which files of it are kept, under which names. ``bundle`` is built from ``GRAPH_ENTRY``."""

    name: str
    version: str
    licence: str
    folder: Path
    files: tuple[tuple[str, str], ...]
    bundle: str | None = None


LIBRARIES: Final = (
    # The 2.x line: 4.x renamed its events and extensions, and brings nothing that these pages need.
    Library(
        "htmx.org", "2.0.11", "0BSD", STATIC, (("dist/htmx.min.js", "htmx.min.js"), ("LICENSE", "htmx.LICENSE.txt"))
    ),
    Library(
        "uplot",
        "1.6.32",
        "MIT",
        STATIC,
        (
            ("dist/uPlot.iife.min.js", "uplot.min.js"),
            ("dist/uPlot.min.css", "uplot.min.css"),
            ("LICENSE", "uplot.LICENSE.txt"),
        ),
    ),
    Library(
        "echarts",
        "6.1.0",
        "Apache-2.0",
        STATIC,
        (("LICENSE", "echarts.LICENSE.txt"), ("NOTICE", "echarts.NOTICE.txt")),
        bundle="echarts-graph.min.js",
    ),
    # ECharts draws with it: it is in the bundle.
    Library("zrender", "6.1.0", "BSD-3-Clause", STATIC, (("LICENSE", "zrender.LICENSE.txt"),)),
    # For the browser tests only; never served.
    Library("axe-core", "4.14.1", "MPL-2.0", AXE, (("axe.min.js", "axe.min.js"), ("LICENSE", "axe.LICENSE.txt"))),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """One file as the manifest tells it."""

    file: str
    package: str
    version: str
    licence: str
    integrity: str
    sha256: str


def digest(path: Path) -> str:
    """Give a file's SHA-256 in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def problems(folder: Path) -> list[str]:
    """Tell what lies in a folder otherwise than its manifest says; empty where all is as it was fetched."""
    kept = [Kept(**row) for row in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))]
    there = {path.name for path in folder.iterdir()} - {MANIFEST}
    found = [f"{row.file} is missing" for row in kept if row.file not in there]
    found += [f"{name} is in no manifest" for name in sorted(there - {row.file for row in kept})]
    found += [
        f"{row.file} is not {row.package} {row.version} as it was fetched"
        for row in kept
        if row.file in there and digest(folder / row.file) != row.sha256
    ]
    return found


def refresh() -> None:
    """Fetch every library anew and write the manifests."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        wanted = [f"{library.name}@{library.version}" for library in LIBRARIES] + [f"esbuild@{ESBUILD}"]
        (work / "package.json").write_text('{"private": true, "type": "module"}\n', encoding="utf-8")
        _run(work, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", *wanted)
        lock = json.loads((work / "package-lock.json").read_text(encoding="utf-8"))["packages"]
        kept: dict[Path, list[Kept]] = {}
        for library in LIBRARIES:
            library.folder.mkdir(parents=True, exist_ok=True)
            package = f"node_modules/{library.name}"
            files = [target for _, target in library.files]
            for source, target in library.files:
                shutil.copyfile(work / package / source, library.folder / target)
            if library.bundle is not None:
                (work / "graph.js").write_text(GRAPH_ENTRY, encoding="utf-8")
                out = library.folder / library.bundle
                flags = ("--bundle", "--minify", "--format=iife", "--legal-comments=inline", "--target=es2020")
                _run(work, "node_modules/.bin/esbuild", "graph.js", *flags, f"--outfile={out}")
                files.append(library.bundle)
            kept.setdefault(library.folder, []).extend(
                Kept(
                    file=file,
                    package=library.name,
                    version=library.version,
                    licence=library.licence,
                    integrity=lock[package]["integrity"],
                    sha256=digest(library.folder / file),
                )
                for file in files
            )
        for folder, rows in kept.items():
            text = json.dumps([asdict(row) for row in rows], indent=2) + "\n"
            (folder / MANIFEST).write_text(text, encoding="utf-8")


def _run(work: Path, *command: str) -> None:
    subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - npm and esbuild, pinned


def main() -> int:
    """Refresh, or check; gives the exit code."""
    if "--check" not in sys.argv[1:]:
        refresh()
    found = [problem for folder in (STATIC, AXE) for problem in problems(folder)]
    sys.stdout.write("".join(f"{problem}\n" for problem in found) or "every vendored file is as it was fetched\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
