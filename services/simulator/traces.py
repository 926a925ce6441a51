"""Lengths and rates of real traffic, read at run time where the shared data is present; plain laws where it is not.

Azure's 2023 traces give pairs of prompt and answer lengths for conversation and for code, Mooncake's conversation trace
long prompts, ServeGen's clients the weekly shape of an API client's rate and its own lengths. Nothing is copied: what
is drawn here is drawn from the files of the folder that is named.
"""

from __future__ import annotations

import ast
import csv
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_HOURS: Final = 24
_WEEK: Final = 168
_LEAST_RATE: Final = 0.005  # Requests a second; a client below it on average was switched off for most of the trace.
_WINDOWS: Final = 4  # Of a client's length histograms; they change little from one six hours to the next.
_ROWS: Final = 4096
_FALLBACK: Final[dict[str, tuple[float, float, float, float]]] = {
    # Mean and deviation of ln tokens in, then out: the traces' own, for a machine without them.
    "conversation": (6.4, 1.1, 4.9, 0.9),
    "code": (7.4, 0.9, 2.6, 1.1),
    "long": (8.9, 0.9, 5.4, 0.9),
}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Pairs of ln tokens in and out. ``own`` is how far one account's requests resemble each other, 0 to 1."""

    pairs: NDArray[np.float64]
    centre: NDArray[np.float64]
    own: float

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Give ``count`` rows of tokens in and out."""
        mean = self.pairs.mean(axis=0)
        drawn = self.pairs[rng.integers(0, len(self.pairs), count)] - mean
        log = mean + self.own**0.5 * self.centre + (1 - self.own) ** 0.5 * drawn
        tokens: NDArray[np.int64] = np.clip(np.rint(np.exp(log)), 1, 32_000).astype(np.int64)
        return tokens


@dataclass(frozen=True, slots=True)
class ApiClient:
    """One client of the ServeGen study: weights of a week's hours (mean 1), burstiness, and its lengths."""

    hours: NDArray[np.float64]
    variation: float
    pairs: NDArray[np.float64]


@dataclass
class Traces:
    """``shared`` is the folder of public data, or None to do without; ``sources`` tells which files were read."""

    shared: Path | None = None
    sources: list[str] = field(default_factory=list)

    def lengths(self, kind: str, rng: np.random.Generator, own: float = 0.4, shift: float = 0.0) -> Lengths:
        """Make one account's lengths of ``kind``: its centre is drawn once; ``shift`` moves ln tokens out."""
        pairs = self._pairs[kind]
        centre = pairs[int(rng.integers(len(pairs)))] - pairs.mean(axis=0)
        return Lengths(pairs, centre + np.array([0.0, shift / max(own, 0.05) ** 0.5]), own)

    def around(self, log_input: float, log_output: float, spread: float, rng: np.random.Generator) -> Lengths:
        """Make lengths of a job that asks for one kind of answer."""
        noise = rng.normal(0, 1, (512, 2)) * spread
        return Lengths(np.array([log_input, log_output]) + noise, np.zeros(2), 0.0)

    def client(self, rng: np.random.Generator) -> ApiClient:
        """Choose one API client."""
        return self._clients[int(rng.integers(len(self._clients)))]

    @cached_property
    def _pairs(self) -> dict[str, NDArray[np.float64]]:
        found = {
            "conversation": self._azure("benign/azure/conv_2023.csv"),
            "code": self._azure("benign/azure/code_2023.csv"),
            "long": self._mooncake("benign/mooncake/conversation_trace.jsonl"),
        }
        return {name: self._fallback(name) if rows is None else rows for name, rows in found.items()}

    @cached_property
    def _clients(self) -> list[ApiClient]:
        clients = []
        for folder in ("m-small", "deepseek-r1"):
            path = self._path(f"benign/servegen/{folder}")
            for trace in sorted(path.glob("*-trace.csv")) if path is not None else ():
                made = _read_client(trace, trace.with_name(trace.name.replace("-trace.csv", "-dataset.json")))
                if made is not None:
                    clients.append(made)
        return clients or [self._plain_client(peak) for peak in (9, 13, 17, 21)]

    def _plain_client(self, peak: int) -> ApiClient:
        hour = np.arange(_WEEK) % _HOURS
        weights: NDArray[np.float64] = np.exp(np.cos((hour - peak) * 2 * np.pi / _HOURS) / 0.8) + 0.1
        return ApiClient(
            weights / weights.mean(), 1.2, self._fallback("conversation") + np.array([0.3, 0.1 * peak - 1])
        )

    def _azure(self, name: str) -> NDArray[np.float64] | None:
        path = self._path(name)
        if path is None:
            return None
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(file)]
        return _logs(np.array(rows, np.float64))

    def _mooncake(self, name: str) -> NDArray[np.float64] | None:
        path = self._path(name)
        if path is None:
            return None
        with path.open(encoding="utf-8") as file:
            records = [json.loads(line) for line in file if line.strip()]
        rows = [(record["input_length"], record["output_length"]) for record in records]
        return _logs(np.array(rows, np.float64))

    def _fallback(self, name: str) -> NDArray[np.float64]:
        mean_in, spread_in, mean_out, spread_out = _FALLBACK[name]
        rng = np.random.default_rng([_ROWS, len(name)])
        return rng.normal((mean_in, mean_out), (spread_in, spread_out), (_ROWS, 2))

    def _path(self, name: str) -> Path | None:
        if self.shared is None or not (self.shared / name).exists():
            return None
        self.sources.append(name)
        return self.shared / name


def _read_client(trace: Path, dataset: Path) -> ApiClient | None:
    """Read one client; None where it was hardly ever on or its lengths are not told."""
    with trace.open(encoding="utf-8", newline="") as file:
        rows = np.array([[float(cell or 0) for cell in row[:3]] for row in csv.reader(file)])
    hourly = np.bincount((rows[:, 0] // 3600).astype(np.intp) % _WEEK, rows[:, 1], _WEEK)
    if rows[:, 1].mean() < _LEAST_RATE or not dataset.is_file():
        return None
    windows = json.loads(dataset.read_text(encoding="utf-8"))
    told = [window for window in windows.values() if window["input_tokens"] != "{}"][:_WINDOWS]
    if not told:
        return None
    rng = np.random.default_rng(len(told))
    given = _sample(rng, [window["input_tokens"] for window in told])
    answered = _sample(rng, [window["output_tokens"] for window in told])
    on = rows[rows[:, 1] > 0, 2]
    return ApiClient(
        hourly / hourly.mean(), float(np.clip(np.median(on), 0.5, 4.0)), np.log(np.stack([given, answered], axis=1))
    )


def _sample(rng: np.random.Generator, histograms: list[str]) -> NDArray[np.float64]:
    parts = []
    for histogram in histograms:
        weights: dict[int, float] = ast.literal_eval(histogram)
        values, chances = np.array(list(weights), np.float64), np.array(list(weights.values()))
        parts.append(rng.choice(values, _ROWS // len(histograms), p=chances / chances.sum()))
    drawn: NDArray[np.float64] = np.maximum(np.concatenate(parts), 1.0)
    return drawn


def _logs(tokens: NDArray[np.float64]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log(np.maximum(tokens, 1.0))
    return logs
