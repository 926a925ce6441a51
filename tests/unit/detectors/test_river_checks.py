"""River's own checks of an estimator, for every detector of ours.

River runs those of anomaly detectors over a data set that it would download. A stream of the same form stands in for
it here: the checks are River's, the rows are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import river.checks
from river import base

from detection.detectors.calibration import build
from detection.detectors.half_space_trees import HalfSpaceTrees
from detection.detectors.surprise import SurpriseEnsemble
from detection.detectors.tail import DirectionalTail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from functools import partial

FEATURES = [f"V{place}" for place in range(8)]


def cards(scale: int = 1) -> list[tuple[dict[str, float], int]]:
    """Rows of named numbers in 0..1, one in fifty an anomaly on the high side, as card payments have them."""
    generator = np.random.default_rng(11)
    rows = 400 * scale
    odd = np.arange(rows) % 50 == 37
    values = generator.beta(2.0, 6.0, (rows, len(FEATURES)))
    values[odd] = generator.beta(6.0, 2.0, (int(odd.sum()), len(FEATURES)))
    return [
        (dict(zip(FEATURES, row, strict=True)), int(label))
        for row, label in zip(values.tolist(), odd.tolist(), strict=True)
    ]


def honest() -> Any:
    return build(FEATURES, ["high"] * len(FEATURES), np.array([list(x.values()) for x, odd in cards() if not odd]))


MAKERS: dict[str, Callable[[], base.AnomalyDetector]] = {
    "half_space_trees": lambda: HalfSpaceTrees(n_trees=5, height=4, window_size=50, seed=3),
    "directional_tail": lambda: DirectionalTail(honest()),
    "surprise": lambda: SurpriseEnsemble(size=128, trees=10, seed=3),
}


def checks() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(river.checks, "_yield_datasets", lambda _model, scale=1: iter([cards(scale)]))
        for name, make in MAKERS.items():
            skipped = make()._unit_test_skips()
            for check in river.checks.yield_checks(make()):
                if check.__name__ not in skipped:
                    yield pytest.param(make, check, id=f"{name}-{check.__name__}")


@pytest.mark.parametrize(("make", "check"), list(checks()))
def test_river_accepts_our_estimators(make: Callable[[], base.AnomalyDetector], check: partial[None]) -> None:
    check(make().clone())
