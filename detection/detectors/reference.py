"""Frozen references: what honest traffic looks like, as quantile tables that a score is read against.

A reference is made from rows of honest subjects of one stratum (accounts at one count milestone; pools of one key
family and size band), is never learned while it is in use, and is promoted by a person. ``build`` is the only maker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import Float64Array

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
_DIGITS: Final = 6


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stratum of honest subjects.

    ``quantiles[j]`` are feature j's values at ``LEVELS``, sorted, or empty where no honest subject had a value.
    ``counts[j]`` is how many had one. ``median`` and ``q95`` are those of the raw scores (nats) of the same subjects,
    and ``count`` is how many subjects there were.
    """

    names: tuple[str, ...]
    directions: tuple[Direction, ...]
    quantiles: tuple[tuple[float, ...], ...]
    counts: tuple[int, ...]
    median: float
    q95: float
    count: int

    def __post_init__(self) -> None:
        """Refuse tables that do not fit each other; raises ValueError (msgspec tells it as ValidationError)."""
        width = len(self.names)
        if not len(self.directions) == len(self.quantiles) == len(self.counts) == width:
            raise ValueError("a reference needs one direction, quantile table and count for each name")
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
    """All strata of one promoted version. ``accounts`` by milestone; ``pools`` by ``"group/band"``."""

    version: str
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


def build(names: Sequence[str], directions: Sequence[Direction], matrix: Float64Array) -> Reference:
    """Make a reference of honest subjects, one a row, shape ``(subjects, features)``; NaN means "no value".

    Raises ValueError where there is no row, or the shapes do not fit.
    """
    if matrix.ndim != 2 or matrix.shape[1] != len(names) or not len(matrix):  # noqa: PLR2004 - Rows and columns.
        raise ValueError("a reference needs a matrix of at least one row, with one column for each name")
    from detection.detectors.tail import raw_scores  # noqa: PLC0415 - The tail reads references; River is heavy.

    quantiles: list[tuple[float, ...]] = []
    counts: list[int] = []
    for column in matrix.T:
        values = column[np.isfinite(column)]
        counts.append(len(values))
        table = np.quantile(values, LEVELS) if len(values) else np.empty(0)
        # Interpolation can step back by an ulp between equal values, and rounding keeps the JSON short.
        quantiles.append(tuple(np.maximum.accumulate(np.round(table, _DIGITS)).tolist()))
    shape = Reference(
        names=tuple(names),
        directions=tuple(directions),
        quantiles=tuple(quantiles),
        counts=tuple(counts),
        median=0.0,
        q95=0.0,
        count=len(matrix),
    )
    median, q95 = np.round(np.quantile(raw_scores(shape, matrix), (0.5, 0.95)), _DIGITS).tolist()
    return msgspec.structs.replace(shape, median=median, q95=q95)
