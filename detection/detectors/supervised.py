"""The supervised head: analysts' verdicts over the evidence that raised an alert (River's logistic regression).

It orders alerts by how much they look like those that people confirmed. It learns in the order of the labels and keeps
plain numbers, so the same labels give the same bytes, and its state travels as JSON, never as a pickle.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from river import linear_model, optim, preprocessing
from river.utils import VectorDict

if TYPE_CHECKING:
    from collections.abc import Mapping

LEARNING_RATE: Final = 0.1  # Labels come by the dozen: River's default of 0.01 would need thousands.
PENALTY: Final = 0.001  # L2; a feature that two labels agree on must not decide alone.


class SupervisedHead:
    """Standardises each feature by what it has seen, then logistic regression by stochastic gradient descent.

    Features may come and go: an absent one says nothing. Values that are not finite count as absent.
    """

    def __init__(self) -> None:
        self._scaler: Any = preprocessing.StandardScaler()
        self._model: Any = linear_model.LogisticRegression(
            optimizer=optim.SGD(LEARNING_RATE), l2=PENALTY, intercept_lr=LEARNING_RATE
        )

    def score_one(self, x: Mapping[str, float]) -> float:
        """Give the probability of a true positive, 0..1; 0.5 before the first label."""
        return float(self._model.predict_proba_one(self._scaler.transform_one(_finite(x)))[True])

    def learn_one(self, x: Mapping[str, float], *, confirmed: bool, weight: float = 1.0) -> None:
        """Take one verdict that counts ``weight`` times. The caller scores first."""
        values = _finite(x)
        self._scaler.learn_one(values)
        self._model.learn_one(self._scaler.transform_one(values), confirmed, w=weight)

    def practise_one(self, x: Mapping[str, float], *, confirmed: bool, weight: float = 1.0) -> None:
        """Take a verdict once more: the weights move, and what is known of the features' spread stays."""
        self._model.learn_one(self._scaler.transform_one(_finite(x)), confirmed, w=weight)

    def parameters(self) -> dict[str, float]:
        """Give the whole state: intercept and steps, then for each feature its count, mean, variance and weight."""
        found = {"intercept": float(self._model.intercept), "steps": float(self._model.optimizer.n_iterations)}
        weights = self._model.weights
        for name in self._scaler.counts:
            found[f"count.{name}"] = float(self._scaler.counts[name])
            found[f"mean.{name}"] = float(self._scaler.means[name])
            found[f"variance.{name}"] = float(self._scaler.vars[name])
            found[f"weight.{name}"] = float(weights.get(name, 0.0))
        return found

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, float]) -> SupervisedHead:
        """Rebuild what ``parameters`` told; goes on learning exactly where that one stood. Raises KeyError."""
        head = cls()
        names = [name.removeprefix("count.") for name in parameters if name.startswith("count.")]
        head._scaler.counts = Counter({name: int(parameters[f"count.{name}"]) for name in names})
        head._scaler.means = defaultdict(float, {name: parameters[f"mean.{name}"] for name in names})
        head._scaler.vars = defaultdict(float, {name: parameters[f"variance.{name}"] for name in names})
        head._model.intercept = parameters["intercept"]
        head._model.optimizer.n_iterations = int(parameters["steps"])
        # River offers no setter for weights; the name is checked by the round trip in the tests.
        weights: VectorDict[str, float] = VectorDict({name: parameters[f"weight.{name}"] for name in names})
        head._model._weights = weights  # noqa: SLF001 - as told above
        return head


def _finite(x: Mapping[str, float]) -> dict[str, float]:
    """Sort by name, for sums in floating point depend on their order."""
    return {name: value for name, value in sorted(x.items()) if math.isfinite(value)}
