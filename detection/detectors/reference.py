"""Frozen references: what honest traffic looks like, as quantile tables that a score is read against.

A reference is made from rows of honest subjects of one stratum (accounts at one count milestone; pools of one key
family and size band), is never learned while it is in use, and is promoted by a person. Only
``detection.detectors.calibration`` makes one.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

Direction: TypeAlias = Literal["high", "low"]

# Every hundredth, and finer steps in both tails: a tail below 1/400 weighs no more (see detection.detectors.tail).
LEVELS: Final[tuple[float, ...]] = (
    0.0,
    0.001,
    0.0025,
    0.005,
    *(step / 100 for step in range(1, 100)),
    0.995,
    0.9975,
    0.999,
    1.0,
)


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stratum of honest subjects.

    ``quantiles[j]`` are feature j's values at ``LEVELS``, sorted, or empty where no honest subject had a value.
    ``counts[j]`` is how many had one. ``median`` and ``q95`` are those of the raw scores (nats) of the same subjects,
    and ``count`` is how many subjects there were. Of features with the same name in ``aspects`` only the strongest
    speaks; those in ``alibis`` also count against suspicion. Both are empty where every feature stands for itself.
    """

    names: tuple[str, ...]
    directions: tuple[Direction, ...]
    quantiles: tuple[tuple[float, ...], ...]
    counts: tuple[int, ...]
    median: float
    q95: float
    count: int
    aspects: tuple[str, ...] = ()
    alibis: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        """Refuse tables that do not fit each other; raises ValueError (msgspec tells it as ValidationError)."""
        width = len(self.names)
        if not len(self.directions) == len(self.quantiles) == len(self.counts) == width:
            raise ValueError("a reference needs one direction, quantile table and count for each name")
        if len(self.aspects) not in {0, width} or len(self.alibis) not in {0, width}:
            raise ValueError("a reference needs one aspect and alibi for each name, or none")
        for name, table in zip(self.names, self.quantiles, strict=True):
            if len(table) not in {0, len(LEVELS)} or list(table) != sorted(table):
                raise ValueError(f"the quantiles of {name} are not {len(LEVELS)} sorted values")

    def __repr__(self) -> str:
        # Some 3,000 numbers would drown whatever quotes it.
        return f"Reference({len(self.names)} features of {self.count} subjects)"

    def expected(self, name: str) -> float:
        """Give the honest median of a feature; 0.0 where none had a value."""
        table = self.quantiles[self.names.index(name)]
        return table[LEVELS.index(0.5)] if table else 0.0


class References(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All strata of one promoted version. ``accounts`` by milestone; ``pools`` by ``"group/band"``.

    ``provisional`` marks a set that does not come from the traffic that it is used on: its alerts say so.
    """

    version: str
    provisional: bool = False
    accounts: dict[int, Reference] = {}
    pools: dict[str, Reference] = {}

    def to_json(self) -> bytes:
        """Write as JSON; equal references give equal bytes."""
        ordered = msgspec.structs.replace(
            self, accounts=dict(sorted(self.accounts.items())), pools=dict(sorted(self.pools.items()))
        )
        return msgspec.json.encode(ordered)

    @classmethod
    def from_json(cls, raw: bytes) -> References:
        """Read what ``to_json`` wrote; raises msgspec.DecodeError or msgspec.ValidationError."""
        return _decoder.decode(raw)


_decoder = msgspec.json.Decoder(References)
