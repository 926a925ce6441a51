"""What others would have done, in the same run: per-account methods, adapted to what a gateway's sketches hold.

Each cuts an account's requests into windows of 40 and scores a window; an account is flagged when one of its windows in
the attack days passes the threshold. Thresholds come from the lead days: one honest account in a thousand passes.

- ``river-hst``: River's half-space trees over eight figures of a window, scored before they learn.
- ``prada``: distances of each prompt to the nearest earlier one should look normal (Juuti et al., EuroS&P 2019); the
  distance is the projection's, the test Jarque and Bera's.
- ``seat``: the share of prompt pairs that are nearly the same (Zhang et al., 2021), by the projection's cosine.
- ``mmd``: the distance of a window's prompts from honest ones by random Fourier features (arXiv 2606.05725 uses 1,500
  requests; accounts that never send as many would never be scored).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from river import anomaly

from detection.columns import Flag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from detection.columns import StructuredArray
    from services.evaluation.sketched import Sketched

_WINDOW: Final = 40
_ALLOWED: Final = 0.001  # Honest accounts that may pass, of those in the lead days.
_ALIKE: Final = 0.8  # Cosine from which two prompts count as one.
_FOURIER: Final = 256
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS


class BaselineResult(msgspec.Struct, frozen=True, kw_only=True):
    """One method in one run: accounts flagged in the attack days; ``by_recipe`` counts flagged ones."""

    method: str
    attackers: int
    flagged: int
    honest: int
    honest_flagged: int
    by_recipe: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Windows:
    account: NDArray[np.uint64]
    end: NDArray[np.int64]
    scores: dict[str, NDArray[np.float64]]


def run_baselines(world: Sketched, lead_ms: int) -> list[BaselineResult]:
    """Score every account by every method; attackers are those of the truth."""
    windows = _score(world.events, lead_ms, _honest_ids(world))
    attackers = {int(account, 16): row["recipe"] for account, row in world.truth.items() if row["campaign"]}
    lead, test = windows.end <= lead_ms, windows.end > lead_ms
    honest = ~np.isin(windows.account, np.array(list(attackers), np.uint64))
    results = []
    for method, scores in windows.scores.items():
        highest = _highest(windows.account[lead & honest], scores[lead & honest])
        threshold = np.quantile(highest, 1 - _ALLOWED) if len(highest) else np.inf
        flagged = np.unique(windows.account[test & (scores > threshold)]).tolist()
        by_recipe: dict[str, int] = {}
        for account in flagged:
            if account in attackers:
                by_recipe[attackers[account]] = by_recipe.get(attackers[account], 0) + 1
        results.append(
            BaselineResult(
                method=method,
                attackers=len(attackers),
                flagged=sum(by_recipe.values()),
                honest=len(world.truth) - len(attackers),
                honest_flagged=len(flagged) - sum(by_recipe.values()),
                by_recipe=dict(sorted(by_recipe.items())),
            )
        )
    return results


def _honest_ids(world: Sketched) -> NDArray[np.uint64]:
    return np.array([int(account, 16) for account, row in world.truth.items() if not row["campaign"]], np.uint64)


def _highest(accounts: NDArray[np.uint64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    _, places = np.unique(accounts, return_inverse=True)
    highest = np.full(int(places.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(highest, places, scores)
    return highest


def _score(events: StructuredArray, lead_ms: int, honest: NDArray[np.uint64]) -> _Windows:
    projected = events["projection"].astype(np.float64)
    projected /= np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-9)
    rng = np.random.default_rng(_FOURIER)
    directions = rng.normal(0, 1.5, (projected.shape[1], _FOURIER))
    shifts = rng.uniform(0, 2 * np.pi, _FOURIER)
    reference = (events["time"] <= lead_ms) & np.isin(events["account"], honest)
    expected = (
        np.cos(projected[reference] @ directions + shifts).mean(axis=0) if reference.any() else np.zeros(_FOURIER)
    )
    accounts, ends, vectors = [], [], []
    scores: dict[str, list[float]] = {"river-hst": [], "prada": [], "seat": [], "mmd": []}
    for rows in _cut(events):
        prompts = projected[rows]
        alike = prompts @ prompts.T
        below = np.tril(alike, -1)[1:] - 2.0 * (np.tri(_WINDOW, k=-1)[1:] == 0)
        scores["prada"].append(_abnormality(1.0 - below.max(axis=1)))
        scores["seat"].append(float((alike[np.tril_indices(_WINDOW, -1)] > _ALIKE).mean()))
        embedded = np.cos(prompts @ directions + shifts).mean(axis=0)
        scores["mmd"].append(float(np.square(embedded - expected).mean()))
        accounts.append(int(events["account"][rows[0]]))
        ends.append(int(events["time"][rows[-1]]))
        vectors.append(_figures(events[rows]))
    order = np.argsort(np.array(ends, np.int64), kind="stable")
    scores["river-hst"] = _half_space_trees(np.array(vectors).reshape(len(vectors), -1), order)
    return _Windows(
        np.array(accounts, np.uint64),
        np.array(ends, np.int64),
        {method: np.array(values) for method, values in scores.items()},
    )


def _cut(events: StructuredArray) -> Iterator[NDArray[np.intp]]:
    """Give the rows of every whole window of every account, in order of time within an account."""
    order = np.argsort(events["account"], kind="stable")
    starts = np.flatnonzero(np.diff(events["account"][order], prepend=np.uint64(0)) != 0)
    for rows in np.split(order, starts[1:] if len(starts) and starts[0] == 0 else starts):
        for place in range(0, len(rows) - _WINDOW + 1, _WINDOW):
            yield rows[place : place + _WINDOW]


def _abnormality(distances: NDArray[np.float64]) -> float:
    spread = distances.std()
    if spread < 1e-9:  # noqa: PLR2004 - all the same: as far from normal as can be
        return float(len(distances) ** 2)
    z = (distances - distances.mean()) / spread
    return float(len(z) / 6 * ((z**3).mean() ** 2 + ((z**4).mean() - 3) ** 2 / 4))


def _figures(rows: StructuredArray) -> list[float]:
    given, answered = np.log1p(rows["input_tokens"]), np.log1p(rows["output_tokens"])
    span = max(int(rows["time"][-1] - rows["time"][0]), 1)
    angle = (rows["time"] % _DAY_MS) * (2 * np.pi / _DAY_MS)
    return [
        float(given.mean()),
        float(answered.mean()),
        float(answered.std()),
        float(np.log(_WINDOW * _HOUR_MS / span)),
        float(np.hypot(np.sin(angle).mean(), np.cos(angle).mean())),
        len(np.unique(rows["prefix"][:, 0])) / _WINDOW,
        float(((rows["flags"] & int(Flag.MULTI_TURN)) > 0).mean()),
        float(((rows["flags"] & int(Flag.REFUSAL)) > 0).mean()),
    ]


def _half_space_trees(vectors: NDArray[np.float64], order: NDArray[np.intp]) -> list[float]:
    """Score windows in order of time, each before the forest learns it; figures are scaled by their own range."""
    scores = np.zeros(len(vectors))
    if not len(vectors):
        return []
    low, high = np.quantile(vectors, 0.01, axis=0), np.quantile(vectors, 0.99, axis=0)
    scaled = np.clip((vectors - low) / np.maximum(high - low, 1e-9), 0, 1)
    forest = anomaly.HalfSpaceTrees(n_trees=15, height=7, window_size=150, seed=7)
    for place in order.tolist():
        row = dict(enumerate(scaled[place].tolist()))
        scores[place] = forest.score_one(row)  # type: ignore[no-untyped-call] # River types its base class only.
        forest.learn_one(row)  # type: ignore[no-untyped-call] # As above.
    return [float(score) for score in scores]
