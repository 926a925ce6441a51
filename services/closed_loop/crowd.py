"""What the loop needs of those who send requests: who they are, what they would ask when, and how one is replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import StructuredArray


_TRIMMED: Final = 512  # Tokens that are left of a trimmed answer.


@dataclass(frozen=True, slots=True)
class Party:
    """One account, by its keyed ids ("" for no organisation), and the truth about it."""

    account: str
    organization: str
    campaign: str | None
    recipe: str
    licensed: bool


class Ask(NamedTuple):
    """A request that would be made ``second`` seconds after the start; ``harvest`` is one that a corpus is made of."""

    second: float
    harvest: bool
    trimmed: float  # What a trimmed answer is worth, 0..1.
    turn: Any  # The crowd's own.


class Made(NamedTuple):
    """A request that was made, and answered."""

    party: int  # Its index.
    turn: Any
    time_ms: int


def worth(tokens: int) -> float:
    """Tell what is left of an answer of so many tokens once it is trimmed, 0..1."""
    return min(1.0, _TRIMMED / max(tokens, 1))


class Crowd(Protocol):
    """``parties`` grows when a campaign buys an account; a party's place in it is its index."""

    start_ms: int
    parties: list[Party]

    def schedule(self, index: int, day: int) -> Sequence[Ask]:
        """Give what one account would ask on a day, by second."""

    def columns(self, made: Sequence[Made]) -> StructuredArray:
        """Give requests as ``EVENT`` rows, as the gateway would publish them, in the order given."""

    def attributes(self, indices: Sequence[int]) -> StructuredArray:
        """Give what the operator knows of accounts, as ``ATTRIBUTES`` rows."""

    def buy(self, like: int, now_ms: int) -> int:
        """Add an account that goes on in another's place, from another network; gives its index."""
