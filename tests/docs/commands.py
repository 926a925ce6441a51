"""The commands that the documentation shows: where they stand, and their words."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

ROOT: Final = Path(__file__).parents[2]
PAPERS: Final = sorted(
    [*ROOT.glob("*.md"), *(path for room in ("docs", "deploy", "examples") for path in (ROOT / room).rglob("*.md"))]
)
Where = Literal["block", "inline"]
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SPAN: Final = re.compile(r"`([^`]+)`")
_PROGRAMS: Final = (
    "curl",
    "docker",
    "export",
    "helm",
    "install",
    "kubectl",
    "litellm",
    "make",
    "pip",
    "python",
    "python3.11",
    "stillwatch",
    "systemctl",
    "uv",
    "vllm",
)
_FIRST: Final = re.compile(
    r"^(?:[A-Z][A-Z0-9_]*=\S+ +)*(?:[\w./-]*/)?(?:" + "|".join(map(re.escape, _PROGRAMS)) + r")(?= |$)"
)
_JOINERS: Final = frozenset(("&&", "||", ";", "|"))


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its words without what is set for it before (``settings``). ``program`` has no folder."""

    paper: str
    where: Where
    words: tuple[str, ...]
    settings: tuple[str, ...] = ()

    @property
    def program(self) -> str:
        return self.words[0].rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.paper}: {' '.join(self.words)}"


def commands_of(paper: Path) -> list[Command]:
    """Give a paper's commands in their order: of fenced and indented blocks, and of code within sentences."""
    text = paper.read_text(encoding="utf-8")
    name = str(paper.relative_to(ROOT))
    found: list[Command] = []
    for kind, body in _FENCE.findall(text):
        for line in _joined(body):
            if kind == "console":
                if line.startswith("$ "):
                    found += _split(name, "block", line[2:])
            elif kind == "bash" or (kind == "text" and _FIRST.match(line)):
                found += _split(name, "block", line)
    prose = _FENCE.sub("", text)
    indented = "\n".join(line[4:] for line in prose.splitlines() if re.match(r" {4}\S| {6,}\S", line))
    found += [each for line in _joined(indented) if _FIRST.match(line) for each in _split(name, "block", line)]
    for span in _SPAN.findall(re.sub(r"\n(?!\n)\s*", " ", prose)):
        if _FIRST.match(span):
            found += [each for line in _alternatives(span) for each in _split(name, "inline", line)]
    return found


def _alternatives(span: str) -> list[str]:
    """Write out a span that stands for several: ``keys status | rotate`` are two; what is in brackets is kept."""
    first, *others = span.replace("[", "").replace("]", "").split(" | ")
    return [first, *(f"{first.rpartition(' ')[0]} {other}" for other in others)]


def every_command() -> list[Command]:
    """Give the commands of all papers."""
    return [command for paper in PAPERS for command in commands_of(paper)]


def _joined(body: str) -> list[str]:
    return [line.strip() for line in re.sub(r"\\\n\s*", " ", body).splitlines() if line.strip()]


def _split(paper: str, where: Where, line: str) -> list[Command]:
    """Cut a line at what joins commands, and take the settings before each apart."""
    found: list[Command] = []
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), "&&"]:
        if word not in _JOINERS:
            words.append(word)
            continue
        settings = []
        while words and re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", words[0]):
            settings.append(words.pop(0))
        if words:
            found.append(Command(paper, where, tuple(words), tuple(settings)))
        words = []
    return found
