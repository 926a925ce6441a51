"""The flight recorder: what a worker did last, written to a file when it ends and nobody asked it to.

Entries are names and numbers; no key and no value of a record comes in here. A dump holds the entries, what the worker
held, the reason, and where each thread was. The newest dumps of a job are kept, older ones go.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from services.errors import StillwatchError
from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import FrameType

    from services.adapters.clock import Clock

ENTRIES: Final = 2_000
KEPT: Final = 20
Facts = dict[str, Any]


class FlightRecorder:
    """A ring of the newest ``ENTRIES`` entries. ``note`` is called from the loop, ``dump`` from any thread, once."""

    def __init__(self, folder: Path, job: str, worker_index: int, clock: Clock) -> None:
        self._folder = folder
        self._job = job
        self._worker = worker_index
        self._clock = clock
        self._entries: deque[tuple[float, str, Facts]] = deque(maxlen=ENTRIES)
        self._describe: Callable[[], Facts] = dict
        self._dumped = threading.Lock()

    def describe_by(self, describe: Callable[[], Facts]) -> None:
        """Ask this for what the worker holds, when it comes to a dump."""
        self._describe = describe

    def note(self, what: str, **facts: float | str | bool | list[int] | None) -> None:
        """Remember something that happened; names and numbers only."""
        self._entries.append((self._clock.monotonic(), what, facts))

    def dump(self, reason: str, error: BaseException | None = None) -> Path | None:
        """Write the file and give its path; None where it cannot be written, or was already.

        A failure to write is logged and never raised: the reason for the dump matters more.
        """
        if not self._dumped.acquire(blocking=False):
            return None
        now = self._clock.now_ms()
        path = self._folder / f"{self._job}-{self._worker}-{now}.json"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self._record(reason, error, now), indent=1) + "\n", encoding="utf-8")
            self._forget_old()
        except (OSError, TypeError, ValueError) as failure:
            get_logger().warning("flight.unwritten", error=type(failure).__name__)
            return None
        get_logger().error("flight.written", path=str(path), reason=reason)
        return path

    def _record(self, reason: str, error: BaseException | None, now: int) -> Facts:
        moment = self._clock.monotonic()
        return {
            "job": self._job,
            "worker": self._worker,
            "time_unix_ms": now,
            "reason": reason,
            "error": _told(error),
            "held": self._held(),
            "threads": _threads(),
            # The loop may go on while another thread dumps: the copy is made by one call, which no other thread cuts.
            "entries": [
                {"seconds_ago": round(moment - at, 4), "what": what, **facts} for at, what, facts in list(self._entries)
            ],
        }

    def _held(self) -> Mapping[str, Any]:
        try:
            return self._describe()
        except Exception as failure:  # noqa: BLE001 - state that is half-changed is told of as such
            return {"not_told": type(failure).__name__}

    def _forget_old(self) -> None:
        dumps = sorted(self._folder.glob(f"{self._job}-*.json"), key=lambda path: path.stem.rpartition("-")[2])
        for path in dumps[:-KEPT]:
            path.unlink(missing_ok=True)


def _told(error: BaseException | None) -> Facts | None:
    """Tell an error by its class and its place. Only our own errors' words are known to quote nothing."""
    if error is None:
        return None
    return {
        "kind": type(error).__name__,
        "message": str(error) if isinstance(error, StillwatchError) else "",
        "at": _places(traceback.extract_tb(error.__traceback__)),
        "cause": _told(error.__cause__),
    }


def _threads() -> dict[str, list[str]]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames: dict[int, FrameType] = sys._current_frames()  # noqa: SLF001 - the only way to see the other threads
    return {
        f"{names.get(ident, 'foreign')} {ident}": _places(traceback.extract_stack(frame))
        for ident, frame in frames.items()
    }


def _places(stack: traceback.StackSummary) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in stack]
