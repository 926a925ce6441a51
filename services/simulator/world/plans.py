"""When an account of the world asks, and how long its requests are: turns of a day, from the account's own habits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import numpy as np

from services.simulator.behaviour import DAY_S, Turn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.simulator.traces import ApiClient, Lengths

_HOUR_S: Final = 3600.0
_HOURS: Final = 24
_WEEK: Final = 7
_DAYS_APART: Final = 100_000  # Conversation numbers of one day lie below it, so no two days share one.
_CONTEXT: Final = 24_000


class Plan(Protocol):
    """What makes a day of turns; ``rng`` belongs to this account, activity and day alone.

    ``converses`` tells whether turns of one conversation carry its history; else its number names the prompt.
    """

    converses: ClassVar[bool]

    def day(self, rng: np.random.Generator, day: int) -> list[Turn]:
        """Give the day's turns in any order. Conversation numbers are never used again on another day."""


@dataclass(frozen=True, slots=True)
class Chat:
    """Conversations at one's own hours: heavy-tailed volumes, days off, quieter weekends, follow-ups with history."""

    converses: ClassVar[bool] = True
    conversations: float
    hour_weights: NDArray[np.float64]
    follow_up: float
    lengths: Lengths
    active: float = 0.7
    weekend: float = 0.7
    longest: int = 12
    pause_s: float = 90.0

    def day(self, rng: np.random.Generator, day: int) -> list[Turn]:
        """Give the day's conversations; each keeps its own pace."""
        factor = self.weekend if day % _WEEK in {5, 6} else 1.0
        if rng.random() > self.active * factor:
            return []
        count = int(rng.poisson(self.conversations))
        starts = rng.choice(_HOURS, size=count, p=self.hour_weights) * _HOUR_S + rng.uniform(0, _HOUR_S, count)
        turns: list[Turn] = []
        for number, second in enumerate(starts.tolist()):
            size = min(int(rng.geometric(1 - self.follow_up)), self.longest)
            tokens = self.lengths.draw(rng, size)
            pauses = rng.exponential(self.pause_s, size) + 3
            context = 0
            moment = second
            for place, (asked, answered) in enumerate(tokens.tolist()):
                given = max(asked // (1 + place), 4) + context
                turns.append(Turn(moment, day * _DAYS_APART + number, place, min(given, 32_000), answered))
                context = min(context + asked // (1 + place) + answered, _CONTEXT)
                moment += float(pauses[place]) + answered * 0.01
        return [turn for turn in turns if turn.second < DAY_S]


@dataclass(frozen=True, slots=True)
class Api:
    """A program that serves its own users: the week of a real API client, scaled to a volume, with its bursts."""

    converses: ClassVar[bool] = False
    requests: float
    client: ApiClient
    lengths: Lengths

    def day(self, rng: np.random.Generator, day: int) -> list[Turn]:
        """Draw each hour's count from a gamma-mixed Poisson law."""
        hours = self.client.hours[(day % _WEEK) * _HOURS : (day % _WEEK + 1) * _HOURS]
        shape = 1.0 / max(self.client.variation**2 / 4, 0.05)
        means = self.requests / _HOURS * hours * rng.gamma(shape, 1 / shape, _HOURS)
        counts = rng.poisson(means)
        seconds = np.repeat(np.arange(_HOURS) * _HOUR_S, counts) + rng.uniform(0, _HOUR_S, int(counts.sum()))
        return single(rng, seconds, self.lengths, day)


@dataclass(frozen=True, slots=True)
class Job:
    """A list that is worked through on some days from one hour on; ``workers`` requests run at a time."""

    converses: ClassVar[bool] = False
    requests: float
    hour: float
    lengths: Lengths
    every: int = 1
    offset: int = 0
    seconds: float = 2.0
    workers: int = 1

    def day(self, rng: np.random.Generator, day: int) -> list[Turn]:
        """Give this day's run, if it has one; what does not fit into the day is left out."""
        if (day + self.offset) % self.every:
            return []
        count = int(rng.poisson(self.requests))
        gaps = rng.exponential(self.seconds / self.workers, count)
        seconds = self.hour * _HOUR_S + rng.uniform(0, 600) + np.cumsum(gaps)
        return single(rng, seconds[seconds < DAY_S], self.lengths, day)


@dataclass(frozen=True, slots=True)
class Queue:
    """One worker's share of a queue. ``noise`` is the deviation of the count in units of its square root.

    ``ramp`` is the number of days in which the rate grows from a twentieth to the whole, from ``since`` on.
    """

    converses: ClassVar[bool] = False
    requests: float
    lengths: Lengths
    hour_weights: NDArray[np.float64] | None = None
    noise: float = 0.5
    ramp: float = 0.0
    since: float = 0.0

    def day(self, rng: np.random.Generator, day: int) -> list[Turn]:
        """Give the share that fell to this worker."""
        rate = self.requests
        if self.ramp:
            rate *= min(1.0, 0.05 + 0.95 * max(0.0, day + 0.5 - self.since) / self.ramp)
        count = max(0, round(float(rng.normal(rate, self.noise * rate**0.5))))
        weights = self.hour_weights if self.hour_weights is not None else np.full(_HOURS, 1 / _HOURS)
        seconds = rng.choice(_HOURS, size=count, p=weights) * _HOUR_S + rng.uniform(0, _HOUR_S, count)
        return single(rng, seconds, self.lengths, day)


@dataclass(frozen=True, slots=True)
class Burst:
    """Repeats: each prompt is sent ``repeats`` times within seconds (best of n, self-consistency)."""

    converses: ClassVar[bool] = False
    prompts: float
    repeats: int
    lengths: Lengths
    hour_weights: NDArray[np.float64] | None = None
    gap_s: float = 0.8
    every: int = 1
    offset: int = 0

    def day(self, rng: np.random.Generator, day: int) -> list[Turn]:
        """Give the day's repeats; a conversation number names the prompt, ``place`` the repeat."""
        if (day + self.offset) % self.every:
            return []
        count = int(rng.poisson(self.prompts))
        weights = self.hour_weights if self.hour_weights is not None else np.full(_HOURS, 1 / _HOURS)
        starts = rng.choice(_HOURS, size=count, p=weights) * _HOUR_S + rng.uniform(0, _HOUR_S, count)
        turns: list[Turn] = []
        for number, second in enumerate(np.sort(starts).tolist()):
            tokens = self.lengths.draw(rng, self.repeats)
            given = int(tokens[0, 0])
            moments = second + np.cumsum(rng.exponential(self.gap_s, self.repeats))
            turns += [
                Turn(moment, day * _DAYS_APART + number, place, given, answered)
                for place, (moment, answered) in enumerate(zip(moments.tolist(), tokens[:, 1].tolist(), strict=True))
            ]
        return [turn for turn in turns if turn.second < DAY_S]


@dataclass(frozen=True, slots=True)
class Mirrored:
    """The same plan for several accounts, by one seed: their requests coincide within ``jitter_s`` seconds."""

    converses: ClassVar[bool] = False
    plan: Plan
    seed: int
    jitter_s: float = 2.0
    share: float = 0.8  # Of the common turns that this account sends.

    def day(self, rng: np.random.Generator, day: int) -> list[Turn]:
        """Give the common day with this account's own jitter."""
        common = self.plan.day(np.random.default_rng([self.seed, day]), day)
        kept = rng.random(len(common)) < self.share
        moved = rng.uniform(0, self.jitter_s, len(common))
        turns = [turn._replace(second=turn.second + float(by)) for turn, by in zip(common, moved, strict=True)]
        return [turn for turn, keep in zip(turns, kept.tolist(), strict=True) if keep and turn.second < DAY_S]


def single(rng: np.random.Generator, seconds: NDArray[np.float64], lengths: Lengths, day: int) -> list[Turn]:
    """Make single turns at these seconds, each a conversation of its own, in order of time."""
    tokens = lengths.draw(rng, len(seconds)).tolist()
    return [
        Turn(second, day * _DAYS_APART + number, 0, given, answered)
        for number, (second, (given, answered)) in enumerate(zip(np.sort(seconds).tolist(), tokens, strict=True))
    ]
