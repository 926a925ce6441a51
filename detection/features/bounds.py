"""What a small group can be trusted to say: each statistic by the end of its own confidence interval that is honest.

A group of five looks alike by chance where a group of five hundred does not. So a feature is never the estimate itself
but a one-sided bound of it at 90 %, on the side that speaks for the customers: the least share, the widest spread that
the evidence still allows. Little evidence then reads as ordinary by itself, and only what many customers agree on can
be extreme.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from detection.columns import Float64Array, Int64Array

ONE_SIDED_90: Final = 1.2816  # Standard normal.
LEAST_WITHIN: Final = 8  # Degrees of freedom that a variance within customers needs.
LEAST_SHARE: Final = 0.05
_TINY: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Groups:
    """Customers grouped by pool: where each group starts, and n_a of every customer."""

    starts: Int64Array
    size: Float64Array  # k
    requests: Float64Array  # n_a, by member
    total: Float64Array  # N

    def sum(self, values: Float64Array) -> Float64Array:
        """Add the members' values up by pool, along the first axis."""
        return np.add.reduceat(values, self.starts, axis=0)

    def spread(self, values: Float64Array) -> Float64Array:
        """Repeat each pool's value for its members."""
        return np.repeat(values, self.size.astype(np.int64), axis=0)

    @property
    def several(self) -> Float64Array:
        """Give k - 1; NaN for pools of one customer, who cannot differ."""
        return np.where(self.size > 1, self.size - 1.0, np.nan)


def least_variance(freedom: Float64Array) -> Float64Array:
    """Give the 10 % quantile of chi-squared over its degrees of freedom (Wilson & Hilferty 1931).

    A variance of s2 estimated with so many degrees may well be one of s2 / this: 5.2 s2 with 3, 1.4 s2 with 40.
    """
    part = 2.0 / (9.0 * freedom)
    return (1.0 - part - ONE_SIDED_90 * np.sqrt(part)) ** 3


def _ratio_error(groups: Groups, values: Float64Array, ratio: Float64Array) -> Float64Array:
    """Give the standard error of sum / N with customers as clusters (Cochran 1977, 6.13)."""
    squares = groups.sum((values - groups.spread(ratio) * groups.requests) ** 2)
    return np.sqrt(groups.size / groups.several * squares) / groups.total


def least_share(groups: Groups, counts: Float64Array) -> Float64Array:
    """Bound a share of requests from below, with one further customer imagined who has none.

    What one customer does alone is within the error and reads as 0, and so does what less than a twentieth of the
    requests do: no crowd is known by that. NaN for one customer.
    """
    plain = groups.sum(counts) / groups.total
    shrunk = plain * groups.size / (groups.size + 1.0)
    least = shrunk - ONE_SIDED_90 * _ratio_error(groups, counts, plain)
    return np.where(least < LEAST_SHARE, 0.0 * least, least)


def greatest_share(groups: Groups, counts: Float64Array) -> Float64Array:
    """Bound a share of requests from above, with one further customer imagined who does nothing else."""
    plain = groups.sum(counts) / groups.total
    shrunk = (plain * groups.size + 1.0) / (groups.size + 1.0)
    return np.minimum(shrunk + ONE_SIDED_90 * _ratio_error(groups, counts, plain), 1.0)


def least_mean(groups: Groups, sums: Float64Array) -> Float64Array:
    """Bound a mean over requests from below, customers as clusters; NaN for one customer."""
    plain = groups.sum(sums) / groups.total
    return plain - ONE_SIDED_90 * _ratio_error(groups, sums, plain)


def greatest_volume_spread(groups: Groups) -> Float64Array:
    """Bound the coefficient of variation of volumes beyond chance: sqrt(max(v' - m, 0)) / m.

    m is the mean of n_a and v' the widest variance that the sample allows; counts dealt at random have v = m.
    """
    mean = groups.total / groups.size
    squares = groups.sum((groups.requests - groups.spread(mean)) ** 2)
    widest = squares / groups.several / least_variance(groups.several)
    return np.sqrt(np.maximum(widest - mean, 0.0)) / mean


def mean_squares(groups: Groups, sums: Float64Array, squares: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Give the mean squares between and within customers; NaN where there are too few to tell.

    ``sums`` are the members' sums of vectors, shape ``(members, d)``; ``squares`` their sums of squared lengths.
    """
    about = groups.sum((sums**2).sum(axis=1) / groups.requests)
    grand = (groups.sum(sums) ** 2).sum(axis=1) / groups.total
    free = groups.total - groups.size
    enough = (groups.size > 1) & (free >= LEAST_WITHIN)
    between = np.maximum(about - grand, 0.0) / np.where(enough, groups.size - 1.0, np.nan)
    within = np.maximum(groups.sum(squares) - about, 0.0) / np.where(enough, free, np.nan)
    return between, within


def greatest_icc(groups: Groups, sums: Float64Array, squares: Float64Array) -> Float64Array:
    """Bound ICC(1) from above (Shrout & Fleiss 1979; unequal sizes as in Donner 1986); NaN where nothing varies."""
    between, within = mean_squares(groups, sums, squares)
    widest = between / least_variance(groups.several * sums.shape[1])
    lone = groups.sum(groups.requests**2) / groups.total
    typical = (groups.total - lone) / groups.several
    whole = widest + (typical - 1.0) * within
    return np.where(whole > _TINY, (widest - within) / np.where(whole > _TINY, whole, np.nan), np.nan)


def greatest_log_f(groups: Groups, sums: Float64Array, squares: Float64Array, dimensions: int) -> Float64Array:
    """Bound ln(mean square between / within) from above; ``dimensions`` of the vectors vary independently."""
    between, within = mean_squares(groups, sums, squares)
    told = (between > _TINY) & (within > _TINY)
    widest = between / least_variance(groups.several * dimensions)
    return np.log(np.where(told, widest, np.nan) / np.where(told, within, np.nan))
