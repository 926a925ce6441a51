"""How an account spends a day: when it asks, how long its answers are, and whether a question follows the last one.

People differ from one another in volume, hours and length, and each is alike to himself; workers behind one queue are
draws from the same distribution. That difference is what the detector looks for, so nothing here may fake it: rates,
hours and lengths of honest accounts are drawn once for each account and kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAY_S: Final = 86_400.0
_HOURS: Final = np.arange(24)


class Turn(NamedTuple):
    """One request to come: seconds into the day, the conversation it belongs to, its place in it, and token counts."""

    second: float
    conversation: int
    place: int
    input_tokens: int
    output_tokens: int


class Behaviour(Protocol):
    """What makes a day of turns; ``rng`` belongs to this account and day alone."""

    def day(self, rng: np.random.Generator, day: int) -> list[Turn]:
        """Give the day's turns in any order."""


def hours(peak: float, width: float) -> NDArray[np.float64]:
    """Give 24 weights around a peak hour (von Mises shape), with a little traffic at any hour."""
    angle = (_HOURS - peak) * (2 * np.pi / 24)
    weights: NDArray[np.float64] = np.exp(np.cos(angle) / width) + 0.05
    total: NDArray[np.float64] = weights / weights.sum()
    return total


@dataclass(frozen=True, slots=True)
class Person:
    """Conversations at a person's own hours: a heavy tail of volumes, days off, follow-ups that carry history."""

    conversations: float  # Mean a day.
    hour_weights: NDArray[np.float64]
    follow_up: float  # Chance of one more turn.
    log_input: float
    log_output: float
    spread: float = 0.7
    active: float = 0.75  # Chance of any traffic on a day.

    def day(self, rng: np.random.Generator, day: int) -> list[Turn]:
        """Give the day's conversations; each keeps its own pace."""
        del day
        if rng.random() > self.active:
            return []
        turns: list[Turn] = []
        for conversation in range(int(rng.poisson(self.conversations))):
            second = float(rng.choice(24, p=self.hour_weights)) * 3600 + float(rng.uniform(0, 3600))
            length = min(int(rng.geometric(1 - self.follow_up)), 12)
            context = 0
            for place in range(length):
                asked = _tokens(rng, self.log_input, self.spread)
                answered = _tokens(rng, self.log_output, self.spread)
                turns.append(Turn(second, conversation, place, asked + context, answered))
                context += asked + answered
                second += float(rng.exponential(90)) + 5
        return [turn for turn in turns if turn.second < DAY_S]


@dataclass(frozen=True, slots=True)
class Service:
    """A program that serves a company's own users: its template, its users' hours, single turns."""

    requests: float
    hour_weights: NDArray[np.float64]
    log_input: float
    log_output: float
    spread: float = 0.5

    def day(self, rng: np.random.Generator, day: int) -> list[Turn]:
        """Give a Poisson number of requests at the users' hours."""
        del day
        return _independent(rng, int(rng.poisson(self.requests)), self.hour_weights, self)


@dataclass(frozen=True, slots=True)
class Batch:
    """A job that starts at its hour on some days and works through its list."""

    requests: int
    hour: float
    log_input: float
    log_output: float
    spread: float = 0.3
    every: int = 1  # Days between runs.
    offset: int = 0
    seconds: float = 1.5  # Between starts.

    def day(self, rng: np.random.Generator, day: int) -> list[Turn]:
        """Give the run of this day, if it has one."""
        if (day + self.offset) % self.every:
            return []
        second = self.hour * 3600 + float(rng.uniform(0, 600))
        turns: list[Turn] = []
        for place in range(int(rng.poisson(self.requests))):
            turns.append(
                Turn(
                    second,
                    place,
                    0,
                    _tokens(rng, self.log_input, self.spread),
                    _tokens(rng, self.log_output, self.spread),
                )
            )
            second += float(rng.exponential(self.seconds))
        return [turn for turn in turns if turn.second < DAY_S]


@dataclass(frozen=True, slots=True)
class Worker:
    """One of many workers behind a queue that spreads a harvest evenly: the same rate, hours and lengths for all."""

    requests: float
    log_input: float
    log_output: float
    spread: float = 0.35
    hour_weights: NDArray[np.float64] | None = None  # None: round the clock.

    def day(self, rng: np.random.Generator, day: int) -> list[Turn]:
        """Give the share of the queue that fell to this worker: counts vary less than chance."""
        del day
        count = max(0, round(float(rng.normal(self.requests, 0.5 * self.requests**0.5))))
        weights = self.hour_weights if self.hour_weights is not None else np.full(24, 1 / 24)
        return _independent(rng, count, weights, self)


class _Lengths(Protocol):
    @property
    def log_input(self) -> float: ...
    @property
    def log_output(self) -> float: ...
    @property
    def spread(self) -> float: ...


def _independent(rng: np.random.Generator, count: int, weights: NDArray[np.float64], lengths: _Lengths) -> list[Turn]:
    starts = rng.choice(24, size=count, p=weights) * 3600.0 + rng.uniform(0, 3600, count)
    return [
        Turn(
            float(second),
            place,
            0,
            _tokens(rng, lengths.log_input, lengths.spread),
            _tokens(rng, lengths.log_output, lengths.spread),
        )
        for place, second in enumerate(starts)
    ]


def _tokens(rng: np.random.Generator, mean: float, spread: float) -> int:
    return int(min(max(round(float(np.exp(rng.normal(mean, spread)))), 1), 32_000))
