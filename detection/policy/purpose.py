"""What the evidence says of the purpose: a harvest's own, or one that honest research shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from detection.outcomes import Finding

HARVEST: Final = frozenset(
    {
        "cue_reasoning",
        "reasoning_share",
        "cue_synthesis",
        "cue_grading",
        "cue_boundary",
        "cue_identity",
        "response_echo",
        "echo_share",
        "refusal_share",
        "logprob_share",
        "bias_vectors",
    }
)
# Judging answers, and asking one question many times over, is what evaluation and self-consistency research do too.
STUDY: Final = frozenset({"cue_grading", "choices_share", "repeated_turns"})
_TELLING: Final = 0.2  # Of the score's unit: a feature that adds less does not lead.


def is_harvest(finding: Finding) -> bool:
    """Tell whether something that the subject asks for is what a harvest asks for."""
    return any(item.feature in HARVEST and item.weight >= _TELLING for item in finding.evidence)


def is_study(finding: Finding) -> bool:
    """Tell whether an account's purpose is one that research shares, and nothing of a harvest's own speaks as loud."""
    told = [item for item in finding.evidence if item.weight >= _TELLING]
    study = max((item.weight for item in told if item.feature in STUDY), default=0.0)
    return study > max((item.weight for item in told if item.feature in HARVEST - STUDY), default=0.0)
