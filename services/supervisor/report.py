"""What the supervisor tells.

Every part's lines with its name in front, and one line for each change of a part's state.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from services.supervisor.part import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SUPERVISOR = "stillwatch"
COLOURS = ("36", "33", "35", "32", "34", "96", "93", "95", "92", "94")
DIM, RED, GREEN, YELLOW, RESET = "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
STATE_COLOURS = {
    State.READY: GREEN,
    State.DONE: GREEN,
    State.UNREADY: YELLOW,
    State.RESTARTING: YELLOW,
    State.FAILED: RED,
}
# Fields of a structured log line that stand in front of the others, or that a person at a terminal can do without.
LEADING = ("level", "event")
UNSHOWN = ("timestamp", "logger", "process", "pid", *LEADING)


class Report(Protocol):
    """Where lines and changes go."""

    def line(self, part: str, text: str) -> None:
        """Tell one line that a part wrote."""

    def change(self, part: str, state: State, *, seconds: float | None = None, detail: str = "") -> None:
        """Tell that a part's state changed; `seconds` is how long the step took."""

    def say(self, text: str) -> None:
        """Tell something of the supervisor's own."""


class TextReport:
    """Lines as `name | text`; in colours, and structured logs made readable, when `colour` (a terminal) asks for it."""

    def __init__(self, write: Callable[[str], object], names: tuple[str, ...], *, colour: bool) -> None:
        self._write = write
        self._colour = colour
        self._width = max((len(name) for name in (*names, SUPERVISOR)), default=0)
        self._colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}

    def line(self, part: str, text: str) -> None:
        """Write one line of a part's."""
        self._write(f"{self._prefix(part)} {readable(text) if self._colour else text}\n")

    def change(self, part: str, state: State, *, seconds: float | None = None, detail: str = "") -> None:
        """Write `part ready in 1.2 s`, with the reason where there is one."""
        word = f"{STATE_COLOURS.get(state, DIM)}{state}{RESET}" if self._colour else str(state)
        took = f" in {seconds:.1f} s" if seconds is not None else ""
        why = f" ({detail})" if detail else ""
        self.say(f"{part} {word}{took}{why}")

    def say(self, text: str) -> None:
        """Write the supervisor's own lines."""
        for line in text.splitlines():
            self._write(f"{self._prefix(SUPERVISOR)} {line}\n")

    def _prefix(self, part: str) -> str:
        name = f"{part:<{self._width}} |"
        return f"\x1b[{self._colours.get(part, '1')}m{name}{RESET}" if self._colour else name


class JsonReport:
    """The same as JSON lines: `{"part", "line"}`, `{"part", "state", "seconds", "detail"}` or `{"say"}`."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def line(self, part: str, text: str) -> None:
        """Write a part's line; one that is JSON itself stays a text."""
        self._put({"part": part, "line": text})

    def change(self, part: str, state: State, *, seconds: float | None = None, detail: str = "") -> None:
        """Write the change."""
        took = None if seconds is None else round(seconds, 3)
        self._put({"part": part, "state": str(state), "seconds": took, "detail": detail})

    def say(self, text: str) -> None:
        """Write the supervisor's own words."""
        self._put({"say": text})

    def _put(self, record: Mapping[str, object]) -> None:
        self._write(json.dumps(record) + "\n")


def readable(text: str) -> str:
    """Turn a structured log line into `level event key=value ...`; any other line stays as it is."""
    if not text.startswith("{"):
        return text
    try:
        record = json.loads(text)
    except json.JSONDecodeError:
        return text
    if not isinstance(record, dict) or "event" not in record:
        return text
    level = str(record.get("level", ""))
    colour = RED if level in {"error", "critical"} else YELLOW if level == "warning" else DIM
    rest = " ".join(f"{DIM}{key}={RESET}{value}" for key, value in record.items() if key not in UNSHOWN)
    return f"{colour}{level:<7}{RESET} {record['event']} {rest}".rstrip()
