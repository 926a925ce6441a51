"""References from honest traffic: the vectors that a recording run collects, one table for each stratum.

The traffic must be honest, or the harvest in it becomes the norm: references are made on purpose, read by a person, and
never while they are in use. Pool strata are written at every width, so that a narrow one with too few pools has a wider
one to fall back on.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.detectors.calibration import build, pool_upwards
from detection.detectors.reference import Reference, References
from detection.features.catalogue import ACCOUNT_ALIBIS, ACCOUNT_ASPECTS, ACCOUNT_FEATURES
from detection.pools.scoring import LEAST_ROWS, build_pool_reference, strata

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detection.accounts.lane import MilestoneVectors
    from detection.columns import Float64Array
    from detection.pools.scoring import PoolVector

LEAST_ACCOUNTS: Final = 60
_ACCOUNT_NAMES: Final = tuple(feature.name for feature in ACCOUNT_FEATURES)
_ACCOUNT_DIRECTIONS: Final = tuple(feature.direction for feature in ACCOUNT_FEATURES)
_ACCOUNT_ASPECTS: Final = tuple(ACCOUNT_ASPECTS[name] for name in _ACCOUNT_NAMES)
_ACCOUNT_ALIBIS: Final = tuple(name in ACCOUNT_ALIBIS for name in _ACCOUNT_NAMES)


def build_account_reference(matrix: Float64Array) -> Reference:
    """Make the reference of one milestone from honest accounts' features, one account a row."""
    return build(_ACCOUNT_NAMES, _ACCOUNT_DIRECTIONS, matrix, _ACCOUNT_ASPECTS, _ACCOUNT_ALIBIS)


def build_references(version: str, accounts: Iterable[MilestoneVectors], pools: Iterable[PoolVector]) -> References:
    """Make references of every stratum with 60 pool scorings or more, and of milestones with 60 honest accounts.

    A milestone with fewer speaks through the next lower one (``detection.detectors.calibration.pool_upwards``).
    """
    rows: dict[str, list[Float64Array]] = defaultdict(list)
    for vector in pools:
        for name in strata(vector.group, vector.band):
            rows[name].append(vector.values)
    milestones: dict[int, list[Float64Array]] = defaultdict(list)
    for seen in accounts:
        milestones[seen.milestone].append(seen.matrix)
    return References(
        version=version,
        accounts={
            milestone: build_account_reference(matrix)
            for milestone, matrix in pool_upwards(milestones, LEAST_ACCOUNTS).items()
        },
        pools={
            name: build_pool_reference(np.array(values))
            for name, values in sorted(rows.items())
            if len(values) >= LEAST_ROWS
        },
    )
