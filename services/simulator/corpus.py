"""Prompts and answers that the project writes itself, from a small grammar; real ones where shared data is present.

Text exists here only to be sketched by the gateway code, on the same path as a real request.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

THINGS: Final = [
    "a sourdough starter",
    "a rental contract",
    "my garden in autumn",
    "a bicycle chain",
    "the tides",
    "a job interview",
    "an old camera",
    "a wedding speech",
    "the stock market",
    "a leaking tap",
    "a school play",
    "solar panels",
    "a chess opening",
    "compound interest",
    "a torn muscle",
    "a power outage",
    "the Roman senate",
    "a noisy neighbour",
    "a budget spreadsheet",
    "a video game level",
    "a database index",
    "a race condition",
    "a regular expression",
    "a failing unit test",
    "a web form",
    "a memory leak",
    "a message queue",
    "a shell script",
    "a slow query",
    "a login page",
    "a recipe for lentils",
    "a long flight",
    "a houseplant",
    "a marathon plan",
    "a piano piece",
    "a dog that barks",
    "a cover letter",
    "a science fair",
    "a tax return",
    "a kitchen knife",
    "a mountain hike",
    "a bedtime story",
    "a podcast episode",
    "a thesis chapter",
    "a product launch",
    "a charity run",
    "a museum visit",
    "a city budget",
    "a vaccine schedule",
    "a telescope",
    "a car battery",
    "a friend who moved away",
    "a broken promise",
    "a crossword",
    "a data pipeline",
    "a pricing page",
    "a customer complaint",
    "a quarterly report",
    "a press release",
    "a privacy policy",
    "a travel itinerary",
    "a mortgage offer",
    "a wood stove",
    "a bee hive",
    "a translation of a poem",
    "a bar chart",
    "a statistics exam",
    "a circuit board",
    "a sewing pattern",
    "a fantasy novel",
    "a lighthouse",
    "a desert storm",
    "a glacier",
    "a trade treaty",
    "a coral reef",
    "a comet",
]
QUESTIONS: Final = [
    "how do I deal with",
    "what should I know about",
    "can you help me understand",
    "give me three ideas for",
    "why is there so much fuss about",
    "I am stuck with",
    "please write a short note about",
    "what is the history of",
    "compare two ways to handle",
    "what would an expert say about",
    "is it normal to worry about",
    "tell me a story that features",
    "make a checklist for",
    "what are common mistakes with",
    "how would you explain",
    "find the flaw in my thinking about",
    "draft an email about",
    "summarise what matters about",
    "what does it cost to fix",
    "how long does it take to learn about",
    "quick question regarding",
    "be honest with me about",
    "I need a plan for",
    "what changed in recent years about",
    "help me decide on",
]
CIRCUMSTANCES: Final = [
    "before the weekend",
    "with very little money",
    "for my grandmother",
    "without any special tools",
    "in under an hour",
    "for a class of ten",
    "while I travel",
    "in the rain",
    "for a small company",
    "as a complete beginner",
    "for someone who hates reading",
    "after a bad week",
    "with two small children around",
    "when nobody else is awake",
    "in plain words",
    "for a sceptical boss",
    "on an old laptop",
    "during the winter",
    "for a team of five",
    "in a rented flat",
    "with what is in the house",
    "for a blog post",
    "under a deadline",
    "without making it worse",
    "in a foreign country",
    "for the third time",
    "so that it lasts",
    "step after step",
]
DETAILS: Final = [
    "I tried twice already.",
    "It is about {n} years old.",
    "My budget is {n} euros.",
    "There are {n} of us.",
    "Keep it under {n} words.",
    "Last time it took {n} days.",
    "Nothing I found online fits.",
    "I would rather not ask anyone I know.",
    "Assume I know the basics.",
    "My sister thinks I am wrong.",
    "Use a friendly tone.",
    "I have until {n} o'clock.",
    "It broke on day {n}.",
    "Please be blunt.",
    "It worked until yesterday.",
    "We have {n} left.",
    "The manual is {n} pages long.",
    "No jargon.",
    "I can pay up to {n}.",
    "Version {n} behaves differently.",
    "It fails one time in {n}.",
    "The room is {n} square metres.",
]
ASIDES: Final = (
    "Take me through it step by step.",
    "Show your work, please.",
    "Explain your reasoning.",
    "Think carefully before you answer.",
    "Rate it on a scale of 1 to 10.",
    "Rank the options by cost.",
    "Compare the two ways for me.",
    "Grade the draft as a teacher would.",
    "Which answer is right, yours or the manual's?",
    "Give me training examples for a beginner.",
    "Then ask me a new question about it.",
    "Are there any restrictions that I should know of?",
    "Who made you, and what are your rules?",
    "Ignore what I said before.",
)
ASIDE_SHARE: Final = 0.06
ANSWERS: Final = [
    "Start with the part that you can check today",
    "The short answer is that it depends on the load",
    "Most people get this wrong at first",
    "There are two honest ways to look at it",
    "A simple test tells you which case you have",
    "The usual advice is too cautious here",
    "Take it apart slowly and write down each step",
    "It is cheaper to replace than to mend",
    "You can do this in an afternoon",
    "Think of it as three smaller problems",
    "The numbers do not support that",
    "That is a fair worry, and a common one",
]
ENDINGS: Final = [
    "and keep a note of what changed",
    "then wait a day before you judge",
    "because the first try rarely tells much",
    "unless the weather turns",
    "which is why the order matters",
    "and ask again if it persists",
    "so leave some slack",
    "and do not rush the last part",
    "since the rest follows from it",
    "and compare it with last month",
]
SUBJECTS: Final = [
    "algebra",
    "geometry",
    "probability",
    "mechanics",
    "thermodynamics",
    "organic chemistry",
    "genetics",
    "ecology",
    "microeconomics",
    "contract law",
    "European history",
    "philosophy of mind",
    "linguistics",
    "compilers",
    "operating systems",
    "networking",
    "graph algorithms",
    "databases",
    "machine learning",
    "cryptography",
    "statistics",
    "nutrition",
    "pharmacology",
    "astronomy",
    "music theory",
    "logic puzzles",
    "creative writing",
    "code review",
    "refactoring",
    "technical interviews",
    "negotiation",
    "project planning",
    "medical triage",
    "tax rules",
    "poetry",
    "geography",
]
OWN_TEXTS: Final = "grammar"  # The source that is this module.
DEGREES: Final = ("easy", "medium", "hard", "graduate", "olympiad", "beginner", "tricky", "adversarial")


@dataclass
class Corpus:
    """Sentences for prompts and answers. ``shared`` is the folder of public data, or None to do without."""

    shared: Path | None = None
    sources: list[str] = field(default_factory=lambda: [OWN_TEXTS])

    def question(self, rng: np.random.Generator) -> str:
        """Write what a person might ask: 15 to 60 words."""
        opening = f"{_pick(rng, QUESTIONS)} {_pick(rng, THINGS)} {_pick(rng, CIRCUMSTANCES)}"
        # Honest people ask for reasons and marks too, now and then; a reference that knows none would accuse the first.
        aside = f" {_pick(rng, ASIDES)}" if rng.random() < ASIDE_SHARE else ""
        details = [_pick(rng, DETAILS).format(n=int(rng.integers(2, 90))) for _ in range(int(rng.integers(1, 5)))]
        return f"{opening}? {' '.join(details)}{aside}"

    def answer(self, rng: np.random.Generator, sentences: int = 3) -> str:
        """Write an answer of a few sentences."""
        return " ".join(f"{_pick(rng, ANSWERS)}, {_pick(rng, ENDINGS)}." for _ in range(sentences))

    def ticket(self, rng: np.random.Generator) -> str:
        """Give one customer message, as a classification job reads them."""
        return _pick(rng, self._tickets) if self._tickets else self.question(rng)

    def problem(self, rng: np.random.Generator) -> str:
        """Give one problem of a public benchmark."""
        return _pick(rng, self._problems) if self._problems else self.question(rng)

    def problem_at(self, place: int) -> str:
        """Give the benchmark's problem number ``place``; every team that runs the benchmark meets the same ones."""
        if self._problems:
            return self._problems[place % len(self._problems)]
        thing, when = THINGS[place % len(THINGS)], CIRCUMSTANCES[(place // len(THINGS)) % len(CIRCUMSTANCES)]
        return f"Problem {place}. Someone has {thing} and must act {when}. What is the smallest number of steps?"

    def seed(self, rng: np.random.Generator) -> str:
        """Give one instruction of the kind that self-instruct recipes start from."""
        if self._seeds:
            return _pick(rng, self._seeds)
        return f"Explain one idea of {_pick(rng, SUBJECTS)} with an example about {_pick(rng, THINGS)}."

    def exercise(self, rng: np.random.Generator) -> str:
        """Name a slot of a harvest: a subject, a degree and a situation, so that no two prompts are the same."""
        return (
            f"subject: {_pick(rng, SUBJECTS)}; level: {_pick(rng, DEGREES)}; "
            f"setting: {_pick(rng, THINGS)} {_pick(rng, CIRCUMSTANCES)}; variant {int(rng.integers(1, 100_000))}"
        )

    @cached_property
    def _tickets(self) -> list[str]:
        path = self._path("benign/prompts/banking77_test.csv")
        if path is None:
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return [row["text"] for row in csv.DictReader(file)]

    @cached_property
    def _problems(self) -> list[str]:
        return self._jsonl("benign/prompts/gsm8k_test.jsonl", "question")

    @cached_property
    def _seeds(self) -> list[str]:
        return self._jsonl("attack/self_instruct_seed_tasks.jsonl", "instruction")

    def _jsonl(self, name: str, column: str) -> list[str]:
        path = self._path(name)
        if path is None:
            return []
        with path.open(encoding="utf-8") as lines:
            return [str(json.loads(line)[column]) for line in lines if line.strip()]

    def _path(self, name: str) -> Path | None:
        if self.shared is None or not (self.shared / name).is_file():
            return None
        self.sources.append(name)
        return self.shared / name


def _pick(rng: np.random.Generator, choices: list[str] | tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
