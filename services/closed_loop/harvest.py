"""One campaign that wants its corpus: what it still has to ask, the accounts it has, and how it reacts.

It knows what a client knows: answers, lengths, status codes. Throttled, it comes back after the time it was told and
spreads what it could not ask over its other accounts; when a tenth of an account's tries are answered or fewer, or the
account is refused, it buys another account, within its means and after a while. Trimmed answers count by how much of
the length it wanted they still hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np

_HOUR_S: Final = 3600.0
_LEAST_TRIES: Final = 20
_HOPELESS: Final = 0.1
_MAXIMUM_RETRIES: Final = 3
_FORBIDDEN: Final = 403


@dataclass(slots=True)
class Worker:
    """One account of a campaign, as its owner sees it."""

    index: int  # In the crowd.
    tries: int = 0
    answered: int = 0
    given_up: bool = False


@dataclass
class Harvest:
    """``planned`` requests are what it would ask if nobody held it back. Times are seconds since the start."""

    name: str
    rng: np.random.Generator
    means: int  # Accounts that it can buy.
    workers: dict[int, Worker] = field(default_factory=dict)
    planned: int = 0
    sent: int = 0
    answered: int = 0
    corpus: float = 0.0  # Answers, trimmed ones in part.
    refused: int = 0
    burnt: int = 0
    bought: int = 0
    answer_seconds: list[float] = field(default_factory=list)

    def answer(self, index: int, second: float, part: float) -> None:
        """Note an answer that holds this part of what was wanted; nothing of it where the request was for cover."""
        worker = self.workers[index]
        worker.tries += 1
        worker.answered += 1
        self.sent += 1
        self.answered += 1
        if part:
            self.corpus += part
            self.answer_seconds.append(second)

    def refuse(self, index: int, status: int, retry_after: float, tries: int) -> tuple[float | None, bool]:
        """Note a refusal; gives the wait for the next try (None: none with this account), and whether to replace it."""
        worker = self.workers[index]
        worker.tries += 1
        self.sent += 1
        self.refused += 1
        hopeless = worker.tries >= _LEAST_TRIES and worker.answered < _HOPELESS * worker.tries
        if status == _FORBIDDEN or hopeless:
            lost = not worker.given_up
            worker.given_up = True
            self.burnt += lost
            return None, lost and self.bought < self.means
        if tries >= _MAXIMUM_RETRIES:
            return None, False
        return retry_after + float(self.rng.exponential(0.5 * _HOUR_S)), False

    def buy(self) -> float:
        """Buy an account for a lost one; gives the seconds until it works: sign-up, payment, first credit."""
        self.bought += 1
        return float(self.rng.uniform(2, 12)) * _HOUR_S

    def hours_to(self, share: float) -> float | None:
        """Give the hours until this share of the planned requests was answered; None where it never was."""
        place = int(share * self.planned)
        return None if place >= len(self.answer_seconds) else round(self.answer_seconds[place] / _HOUR_S, 1)
