"""The closed table of features: every number that a detector reads has one row here, and the docs are made from it.

``low`` and ``high`` are fixed limits by which half-space trees see a value as 0..1, values outside at the edge and
missing values at 0. They are bounds of what can sensibly occur, chosen once: a scale learned from traffic would move
with an attacker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from detection.detectors.reference import Direction


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature. ``formula`` speaks of the fields in ``source``; ``direction`` is the side that is suspicious.

    ``small_samples`` says from when on there is a value at all; before that it is NaN and adds nothing.
    """

    name: str
    formula: str
    unit: str
    direction: Direction
    scope: Literal["account", "pool"]
    source: str
    small_samples: str
    low: float
    high: float


def _account(
    name: str,
    formula: str,
    direction: Direction,
    limits: tuple[float, float],
    *,
    unit: str = "share",
    source: str,
    small_samples: str = "from the first request",
) -> Feature:
    return Feature(name, formula, unit, direction, "account", source, small_samples, *limits)


_TEXT: Final = "from the first request whose text was seen"
_ANSWER: Final = "from the first request without error"
_GAPS: Final = "from the third request"

# n = requests, t = n - text_unavailable, a = n - errors.
ACCOUNT_FEATURES: Final[tuple[Feature, ...]] = (
    _account("token_yield", "ln(1 + output_tokens / n)", "high", (0, 12), unit="nats", source="output_tokens"),
    _account("mean_output", "log_output / a", "high", (0, 10), unit="nats", source="log_output", small_samples=_ANSWER),
    _account(
        "output_input_ratio",
        "(log_output - log_input) / a",
        "high",
        (-8, 8),
        unit="nats",
        source="log_output, log_input",
        small_samples=_ANSWER,
    ),
    _account(
        "output_spread",
        "standard deviation of ln(1 + output tokens) over all requests",
        "low",
        (0, 4),
        unit="nats",
        source="log_output, log_output_squared",
        small_samples=_GAPS,
    ),
    _account(
        "reasoning_share",
        "reasoning_tokens / output_tokens, at most 1",
        "high",
        (0, 1),
        source="reasoning_tokens, output_tokens",
        small_samples="from the first output token",
    ),
    _account("distinct_turns", "distinct(turns) / t, at most 1", "high", (0, 1), source="turns", small_samples=_TEXT),
    _account("repeated_turns", "1 - distinct(turns) / t", "high", (0, 1), source="turns", small_samples=_TEXT),
    _account(
        "distinct_responses",
        "distinct(responses) / a, at most 1",
        "high",
        (0, 1),
        source="responses",
        small_samples=_ANSWER,
    ),
    _account(
        "top_template",
        "max(templates_counted) / t",
        "high",
        (0, 1),
        source="templates_counted",
        small_samples=_TEXT,
    ),
    _account(
        "template_reuse",
        "ln(t / distinct(templates)), at least 0",
        "high",
        (0, 8),
        unit="nats",
        source="templates",
        small_samples="from the first prompt of 16 words",
    ),
    _account("hour_entropy", "entropy of hours", "high", (0, 3.2), unit="nats", source="hours"),
    _account(
        "burst_share", "bursts / (n - 1)", "high", (0, 1), source="bursts", small_samples="from the second request"
    ),
    _account(
        "gap_variability",
        "standard deviation of ln(1 + gap in ms)",
        "low",
        (0, 5),
        unit="nats",
        source="log_gap, log_gap_squared",
        small_samples=_GAPS,
    ),
    _account(
        "rate",
        "ln(n / (1 + (last_seen - first_seen) / 1 h))",
        "high",
        (-4, 10),
        unit="nats",
        source="requests, first_seen, last_seen",
    ),
    _account("logprob_share", "logprobs / n", "high", (0, 1), source="logprobs"),
    _account("bias_vectors", "ln(1 + distinct(biases))", "high", (0, 6), unit="nats", source="biases"),
    _account("choices_share", "many_choices / n", "high", (0, 1), source="many_choices"),
    _account("refusal_share", "refusals / t", "high", (0, 1), source="refusals", small_samples=_TEXT),
    _account("echo_share", "echoes / t", "high", (0, 1), source="echoes", small_samples=_TEXT),
    _account("cue_reasoning", "cues_reasoning / t", "high", (0, 1), source="cues_reasoning", small_samples=_TEXT),
    _account("cue_synthesis", "cues_synthesis / t", "high", (0, 1), source="cues_synthesis", small_samples=_TEXT),
    _account("cue_grading", "cues_grading / t", "high", (0, 1), source="cues_grading", small_samples=_TEXT),
    _account("cue_boundary", "cues_boundary / t", "high", (0, 1), source="cues_boundary", small_samples=_TEXT),
    _account("cue_identity", "cues_identity / t", "high", (0, 1), source="cues_identity", small_samples=_TEXT),
    _account(
        "coverage",
        "content cells visited / min(t, 256)",
        "high",
        (0, 1),
        source="cells",
        small_samples=_TEXT,
    ),
    _account("continuation", "continued / t", "low", (0, 1), source="continued", small_samples=_TEXT),
)

# Features of one aspect say nearly the same of an account; the strongest of them speaks for all.
ACCOUNT_ASPECTS: Final[dict[str, str]] = {
    "token_yield": "yield",
    "rate": "volume",
    "mean_output": "yield",
    "output_input_ratio": "yield",
    "output_spread": "clockwork",
    "gap_variability": "clockwork",
    "burst_share": "clockwork",
    "hour_entropy": "clockwork",
    "reasoning_share": "reasoning",
    "cue_reasoning": "reasoning",
    "distinct_turns": "novelty",
    "distinct_responses": "novelty",
    "coverage": "novelty",
    "repeated_turns": "repetition",
    "choices_share": "repetition",
    "top_template": "template",
    "template_reuse": "template",
    "logprob_share": "probe",
    "bias_vectors": "probe",
    "refusal_share": "boundary",
    "cue_boundary": "boundary",
    "cue_identity": "boundary",
    "cue_synthesis": "synthesis",
    "echo_share": "synthesis",
    "cue_grading": "grading",
    "continuation": "conversation",
}
# Somebody who carries conversations on, or asks more than he takes, is an ordinary user in that respect.
ACCOUNT_ALIBIS: Final = frozenset({"continuation", "output_input_ratio"})
