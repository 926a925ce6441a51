"""Account features: from rows to a matrix with one column for each entry of ``ACCOUNT_FEATURES``, in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.columns import FIXED_POINT
from detection.features.catalogue import ACCOUNT_FEATURES
from detection.sketches.hyperloglog import estimate

if TYPE_CHECKING:
    from detection.columns import Float64Array, StructuredArray

NAMES: Final = tuple(feature.name for feature in ACCOUNT_FEATURES)
_LOW: Final = np.array([feature.low for feature in ACCOUNT_FEATURES])
_RANGE: Final = np.array([feature.high - feature.low for feature in ACCOUNT_FEATURES])
_HOUR_MS: Final = 3_600_000


def account_features(rows: StructuredArray) -> Float64Array:
    """Read the features of rows, shape ``(n, features)``; NaN where the catalogue says there is no value yet."""
    n = rows["requests"].astype(np.float64)
    seen = n - rows["text_unavailable"]
    answered = n - rows["errors"]
    span_hours = (rows["last_seen"] - rows["first_seen"]) / _HOUR_MS
    distinct = _share(estimate(rows["turns"]), seen)
    values = {
        "token_yield": np.log1p(_share(rows["output_tokens"], n)),
        "mean_output": _share(rows["log_output"] / FIXED_POINT, answered),
        "output_input_ratio": _share((rows["log_output"] - rows["log_input"]) / FIXED_POINT, answered),
        "output_spread": _deviation(rows["log_output"], rows["log_output_squared"], n),
        "reasoning_share": np.minimum(_share(rows["reasoning_tokens"], rows["output_tokens"]), 1.0),
        "distinct_turns": np.minimum(distinct, 1.0),
        "repeated_turns": np.maximum(1.0 - distinct, 0.0),
        "distinct_responses": np.minimum(_share(estimate(rows["responses"]), answered), 1.0),
        "top_template": _share(rows["templates_counted"].max(axis=1, initial=0), seen),
        "template_reuse": _reuse(estimate(rows["templates"]), seen),
        "hour_entropy": _entropy(rows["hours"], n),
        "burst_share": _share(rows["bursts"], n - 1.0),
        "gap_variability": _deviation(rows["log_gap"], rows["log_gap_squared"], n - 1.0),
        "rate": np.log(np.maximum(n, 1.0) / (1.0 + span_hours)),
        "logprob_share": _share(rows["logprobs"], n),
        "bias_vectors": np.log1p(estimate(rows["biases"])),
        "choices_share": _share(rows["many_choices"], n),
        "refusal_share": _share(rows["refusals"], seen),
        "echo_share": _share(rows["echoes"], seen),
        "cue_reasoning": _share(rows["cues_reasoning"], seen),
        "cue_synthesis": _share(rows["cues_synthesis"], seen),
        "cue_grading": _share(rows["cues_grading"], seen),
        "cue_boundary": _share(rows["cues_boundary"], seen),
        "cue_identity": _share(rows["cues_identity"], seen),
        "coverage": _coverage(rows["cells"], seen),
        "continuation": _share(rows["continued"], seen),
    }
    matrix = np.empty((len(rows), len(NAMES)))
    for place, name in enumerate(NAMES):
        matrix[:, place] = values[name]
    return matrix


def scaled(matrix: Float64Array) -> Float64Array:
    """Bring features into 0..1 by the catalogue's fixed limits; missing values become 0."""
    inside: Float64Array = np.nan_to_num(np.clip((matrix - _LOW) / _RANGE, 0.0, 1.0), nan=0.0)
    return inside


def _share(part: Float64Array, whole: Float64Array) -> Float64Array:
    """Divide; NaN where there is nothing to take a share of."""
    share: Float64Array = np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
    return share


def _deviation(total: Float64Array, squares: Float64Array, count: Float64Array) -> Float64Array:
    """Give the standard deviation in nats from fixed-point sums; NaN below two values."""
    values = np.maximum(count, 1.0)
    mean = total / values
    variance = np.maximum(squares / values - mean * mean, 0.0)
    deviation: Float64Array = np.where(count > 1, np.sqrt(variance) / FIXED_POINT, np.nan)
    return deviation


def _reuse(distinct: Float64Array, seen: Float64Array) -> Float64Array:
    reuse = np.log(np.maximum(np.maximum(seen, 1.0) / np.maximum(distinct, 1.0), 1.0))
    return np.where(distinct > 0, reuse, np.nan)


def _entropy(histogram: Float64Array, count: Float64Array) -> Float64Array:
    part = histogram / np.maximum(count, 1.0)[:, None]
    # 0 ln 0 is 0. Column by column: a row must not depend on how many rows there are.
    terms = -part * np.log(np.where(part > 0, part, 1.0))
    total = np.zeros(len(part))
    for column in terms.T:
        total += column
    return total


def _coverage(cells: StructuredArray, seen: Float64Array) -> Float64Array:
    visited = np.bitwise_count(cells).sum(axis=1)
    return np.where(seen > 0, visited / np.minimum(np.maximum(seen, 1.0), cells.shape[1] * 64.0), np.nan)
