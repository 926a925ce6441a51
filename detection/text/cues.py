"""Cues of a prompt and refusals of a response, found by phrase.

Cues are phrases of one to three normalised words, compared by their keyed hashes: one gather over the prompt, whatever
the number of phrases. They say what is asked for, not why: honest users ask for reasoning as well. Only their share in
a group, against other groups, is evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.columns import Flag, UInt64Array
from detection.text.features import pair_hashes
from detection.text.words import fold, read_words

if TYPE_CHECKING:
    from detection.text.keys import TextKey

CUE_PHRASES: Final[dict[Flag, tuple[str, ...]]] = {
    Flag.CUE_REASONING: (
        "step by step",
        "chain of thought",
        "show your work",
        "show your reasoning",
        "explain your reasoning",
        "your thought process",
        "reasoning steps",
        "reasoning process",
        "think aloud",
        "think carefully",
        "let s think",
        "reason through",
        "intermediate steps",
    ),
    Flag.CUE_SYNTHESIS: (
        "synthetic data",
        "synthetic dataset",
        "training examples",
        "training samples",
        "fine tuning",
        "instruction tuning",
        "diverse task instructions",
        "diverse tasks",
        "diverse set of",
        "task instructions",
        "new instruction",
        "new instructions",
        "instruction response pairs",
        "question answer pairs",
        "generate questions",
        "generate new questions",
        "a new question",
        "given prompt",
        "rewritten prompt",
        "created prompt",
        "new prompt",
        "distill",
        "distillation",
    ),
    Flag.CUE_GRADING: (
        "impartial judge",
        "better response",
        "preferred response",
        "which response is",
        "which answer is",
        "assistant a",
        "assistant b",
        "rate the response",
        "rate the following",
        "score the",
        "on a scale",
        "scale of 0",
        "scale of 00",
        "rank the",
        "grade the",
        "compare the two",
        "quality of the",
        "helpfulness relevance accuracy",
        "your rating",
        "final verdict",
    ),
    Flag.CUE_BOUNDARY: (
        "ignore all previous",
        "ignore previous instructions",
        "ignore your instructions",
        "any restrictions",
        "no restrictions",
        "are you allowed",
        "refuse to answer",
        "you will refuse",
        "you refuse to",
        "you cannot answer",
        "content policy",
        "safety guidelines",
        "developer mode",
        "do anything now",
        "jailbreak",
        "jailbroken",
        "unfiltered",
        "policy violation",
    ),
    Flag.CUE_IDENTITY: (
        "system prompt",
        "your instructions",
        "your guidelines",
        "who are you",
        "what model are",
        "which model are",
        "are you gpt",
        "are you claude",
        "are you chatgpt",
        "who made you",
        "who created you",
        "who trained you",
        "your training data",
        "knowledge cutoff",
        "the words above",
        "your initial instructions",
    ),
}
_REFUSALS: Final = tuple(
    phrase.encode()
    for phrase in (
        "i m sorry but",
        "i am sorry but",
        "i can t help",
        "i cannot help",
        "i can t assist",
        "i cannot assist",
        "i can t provide",
        "i cannot provide",
        "i can t comply",
        "i cannot comply",
        "i can t fulfill",
        "i cannot fulfill",
        "i can t discuss",
        "i cannot discuss",
        "i m unable to",
        "i am unable to",
        "i m not able to",
        "i am not able to",
        "i won t",
        "i must decline",
        "i have to decline",
        "as an ai",
        "against my guidelines",
    )
)
REFUSAL_BYTES: Final = 400  # A refusal says so at once; later in an answer the same words are quotation.
_FILTER_BITS: Final = 12
_THIRD: Final = np.uint64(0xD6E8FEB86659FD93)


class CueFinder:
    """Finds cues by word hashes under one key."""

    def __init__(self, key: TextKey) -> None:
        self._flags: dict[int, int] = {}
        for flag, phrases in CUE_PHRASES.items():
            for phrase in phrases:
                code = int(_codes(read_words(phrase.encode(), key).hashes)[-1][-1])
                self._flags[code] = self._flags.get(code, 0) | flag
        self._filter = np.zeros(1 << _FILTER_BITS, np.bool_)
        self._filter[_buckets(np.array(list(self._flags), np.uint64))] = True

    def find(self, words: UInt64Array, pairs: UInt64Array) -> int:
        """Give the cue bits of a prompt from its word hashes and ``pair_hashes`` of them."""
        flags = 0
        for codes in _codes(words, pairs):
            for code in codes[self._filter[_buckets(codes)]].tolist():
                flags |= self._flags.get(code, 0)
        return flags


def _buckets(codes: UInt64Array) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    return (codes & np.uint64((1 << _FILTER_BITS) - 1)).astype(np.intp)


def _codes(words: UInt64Array, pairs: UInt64Array | None = None) -> list[UInt64Array]:
    """Hash every run of one, two and three words, as many kinds as the text has words for."""
    if pairs is None:
        pairs = pair_hashes(words)
    triples = pairs[:-1] + words[2:] * _THIRD
    return [kind for kind in (words, pairs, triples) if len(kind)]


def is_refusal(response: bytes) -> bool:
    """Tell whether a response declines, by its first 400 bytes."""
    opening = b" ".join(fold(response[:REFUSAL_BYTES]).split())
    return any(phrase in opening for phrase in _REFUSALS)
