"""One virtual environment for each peer, built from the package registry by the machine's own settings, and kept."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from measure import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# The newest releases when the figures in docs/benchmarks.md were taken.
PACKAGES: Final = {
    "quix": ("quixstreams==3.28.1", "river==0.26.1"),
    "bytewax": ("bytewax[kafka]==0.21.1", "river==0.26.1"),
    "faust": ("faust-streaming==0.15.3", "aiokafka[lz4]==0.14.0", "river==0.26.1"),
}


def python_of(peer: str) -> Path:
    """Give the Python of a peer's environment; built where it is not there as it should be."""
    home = ROOT / "build" / "peers" / peer
    wanted = "\n".join((sys.version, *PACKAGES[peer]))
    stamp = home / ".packages"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        sys.stderr.write(f"building an environment for {peer}\n")
        uv = str(ROOT / ".venv" / "bin" / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)], check=True)
        python = str(home / "bin" / "python")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *PACKAGES[peer]], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return home / "bin" / "python"
