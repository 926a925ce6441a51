"""What a sketch costs by the length of the prompt: CPU time of this process, medians; prints a Markdown table."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Final

import numpy as np

from detection.text.conversation import Conversation, Turn
from detection.text.keys import TextKey
from detection.text.sketch import Sketcher

LENGTHS: Final = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_SECONDS: Final = 1.0  # For each length, at least five sketches.
_LEAST: Final = 5


def prompt(length: int, seed: int) -> str:
    """Make ``length`` characters of words and sentences that no two seeds share."""
    rng = np.random.default_rng([length, seed])
    letters = rng.integers(97, 123, length).astype(np.uint8)
    letters[rng.random(length) < 1 / 6] = ord(" ")
    letters[rng.random(length) < 1 / 80] = ord(".")
    return letters.tobytes().decode("ascii")


def measure(length: int) -> tuple[float, int]:
    """Give the median CPU seconds of one sketch and how many were made."""
    sketcher = Sketcher(TextKey(bytes(32)))
    answer = Turn("assistant", prompt(400, 1))
    texts = [prompt(length, seed) for seed in range(4)]
    taken: list[float] = []
    while len(taken) < _LEAST or (sum(taken) < _SECONDS and len(taken) < 2_000):
        conversation = Conversation((Turn("user", texts[len(taken) % len(texts)]),), answer)
        began = time.process_time()
        sketcher.sketch(conversation)
        taken.append(time.process_time() - began)
    return statistics.median(taken), len(taken)


def main() -> int:
    """Print the table."""
    sys.stdout.write("| characters of prompt | CPU microseconds | sketches a CPU second |\n| --- | --- | --- |\n")
    for length in LENGTHS:
        seconds, _ = measure(length)
        sys.stdout.write(f"| {length:,} | {seconds * 1e6:,.0f} | {1 / seconds:,.0f} |\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
