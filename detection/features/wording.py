"""Features in plain words: what it means that one of them lies far out. A closed table beside the catalogues."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_REASONS: Final = 2

# Each completes "…, because"; it says what was seen on the suspicious side.
WORDS: Final[dict[str, str]] = {
    # Pools: customers against each other.
    "volume_spread": "their request counts are hardly less alike than chance makes them",
    "content_f": "what they ask about does not differ from one to the next",
    "icc_output": "their answers are equally long, whoever asks",
    "icc_hour": "none of them keeps hours of its own",
    "self_repeat": "hardly anyone repeats a prompt",
    "cross_overlap": "hardly any prompt is asked twice",
    "log_out_in": "they ask little and take long answers",
    "log_out": "their answers are long",
    "response_distinct": "no two answers are the same",
    "own_prefix": "nobody carries a conversation on",
    "young_share": "their accounts are new",
    "new_rate": "new accounts keep joining",
    "network_concentration": "they come from few networks",
    "payment_concentration": "few payment attributes pay for them",
    "refusal_share": "many requests are refused",
    "logprob_share": "many requests ask for log probabilities",
    "burst_share": "requests follow each other within a second",
    "response_echo": "prompts hold earlier answers",
    # Accounts against honest accounts of the same count.
    "token_yield": "it takes more output for a request than such accounts do",
    "mean_output": "its answers are long",
    "output_input_ratio": "it asks little and takes long answers",
    "output_spread": "its answers are all of one length",
    "reasoning_share": "most of its output is reasoning",
    "distinct_turns": "it never asks the same twice",
    "repeated_turns": "it asks the same again and again",
    "distinct_responses": "no two of its answers are the same",
    "top_template": "one template makes most of its prompts",
    "template_reuse": "its prompts come from few templates",
    "hour_entropy": "it works round the clock",
    "gap_variability": "its requests come like clockwork",
    "rate": "it asks faster than people do",
    "bias_vectors": "it tries many logit_bias vectors",
    "choices_share": "it asks for several answers at once",
    "echo_share": "its prompts hold earlier answers",
    "coverage": "it covers every kind of subject",
    "continuation": "it never carries a conversation on",
    # Links and probes.
    "coincidences": "they send the same prompts within seconds of each other",
    "handovers": "a new key takes over where one is refused",
    # Both.
    "cue_reasoning": "prompts ask for the chain of thought",
    "cue_synthesis": "prompts ask for training material",
    "cue_grading": "prompts ask for grades and comparisons",
    "cue_boundary": "prompts map what is refused",
    "cue_identity": "prompts ask about the model itself",
}


def because(features: Iterable[str]) -> str:
    """Join the words of the two strongest features, which come first; the page shows all."""
    # A finding may come from a newer worker, with a feature that this one has no words for.
    return " and ".join(WORDS.get(name, name.replace("_", " ")) for name in islice(features, _REASONS))
