"""Texts of the world: prose by a chain of words that real prompts make, sessions of coding agents, rubrics, templates.

Strangers do not write the same sentences. A grammar of a few phrases would put them into each other's pools, so prose
comes from a second-order chain over the words of public prompts (over the project's own sentences where the shared data
is missing), with a writer's own subjects strewn in.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from services.simulator.corpus import (
    ANSWERS,
    ASIDE_SHARE,
    ASIDES,
    CIRCUMSTANCES,
    DETAILS,
    ENDINGS,
    QUESTIONS,
    THINGS,
    Corpus,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOPIC_WORDS: Final = 14
_STREWN: Final = 6  # One word in so many is of the writer's own subject.
_OBSERVATION: Final = 1200  # Characters of a tool's output that go into a session.
_KEPT: Final = 1 << 14  # Subjects; those of attackers' slots come once each.
_LONGEST_LINE: Final = 160


class Rubric(NamedTuple):
    """A grading prompt: the system message, and the frame of the user's one with its named places."""

    name: str
    system: str
    template: str


class AgentStep(NamedTuple):
    """One step of a recorded session: what the agent saw and what it said."""

    observation: str
    output: str


@dataclass
class Library(Corpus):
    """All texts; every method that draws takes its source of randomness."""

    _topics: dict[int, tuple[str, ...]] = field(default_factory=dict, repr=False)
    _templates: dict[tuple[int, int], str] = field(default_factory=dict, repr=False)

    def prose(self, rng: np.random.Generator, words: int, topic: int = 0) -> str:
        """Write about ``words`` words; ``topic`` 0 is nobody's, any other number strews in that writer's subjects."""
        chain, starts = self._chain
        steps = rng.integers(0, 1 << 30, words + 1).tolist()
        first, second = starts[steps[0] % len(starts)]
        out = [first, second]
        own = self.topic(topic) if topic else ()
        for step in steps[1:-1]:
            following = chain.get((first, second))
            if following is None:
                first, second = starts[step % len(starts)]
                out.append(first)
            else:
                first, second = second, following[step % len(following)]
            out.append(second)
            if own and step % _STREWN == 0:
                out.append(own[step // _STREWN % len(own)])
        return " ".join(out)

    def ask(self, rng: np.random.Generator, topic: int) -> str:
        """Write what a person asks first: 12 to 90 words, now and then with an aside that harvests like too."""
        opening = self.prose(rng, int(rng.integers(8, 70)), topic)
        question = f"{_pick(rng, QUESTIONS)} {_pick(rng, THINGS)} {_pick(rng, CIRCUMSTANCES)}?"
        aside = f" {_pick(rng, ASIDES)}" if rng.random() < ASIDE_SHARE else ""
        return f"{opening} {question}{aside}" if rng.random() < 0.5 else f"{question} {opening}{aside}"  # noqa: PLR2004 - a coin

    def follow(self, rng: np.random.Generator, topic: int) -> str:
        """Write a follow-up of 4 to 30 words."""
        detail = _pick(rng, DETAILS).format(n=int(rng.integers(2, 90)))
        return f"{detail} {self.prose(rng, int(rng.integers(4, 25)), topic)}"

    def reply(self, rng: np.random.Generator, topic: int = 0) -> str:
        """Write an answer: an opening of the project's, then prose."""
        return f"{_pick(rng, ANSWERS)}, {_pick(rng, ENDINGS)}. {self.prose(rng, int(rng.integers(10, 40)), topic)}"

    def topic(self, number: int) -> tuple[str, ...]:
        """Give the words of one writer's subject."""
        found = self._topics.get(number)
        if found is None:
            rng = np.random.default_rng([number, 77])
            words = self._vocabulary
            found = tuple(words[place] for place in rng.integers(0, len(words), _TOPIC_WORDS).tolist())
            if len(self._topics) >= _KEPT:
                self._topics.clear()
            self._topics[number] = found
        return found

    def template(self, number: int, words: int) -> str:
        """Give the instruction of one program: the same text for the same number."""
        found = self._templates.get((number, words))
        if found is None:
            rng = np.random.default_rng([number, words, 78])
            found = self._templates[number, words] = self.prose(rng, words, number or 1)
        return found

    def persona(self, rng: np.random.Generator) -> str:
        """Give a persona prompt of the kind that people copy from lists."""
        return (
            _pick(rng, self._personas) if self._personas else f"I want you to act as an expert. {self.prose(rng, 30)}"
        )

    def rubric(self, place: int) -> Rubric:
        """Give one grading prompt."""
        return self._rubrics[place % len(self._rubrics)]

    def session(self, place: int) -> Sequence[AgentStep]:
        """Give the steps of one recorded agent session; the first observation is the task."""
        return self._sessions[place % len(self._sessions)]

    def code(self, rng: np.random.Generator, lines: int) -> str:
        """Give lines of code and tool output as developers paste them."""
        start = int(rng.integers(0, max(len(self._code) - lines, 1)))
        return "\n".join(self._code[start : start + lines])

    @cached_property
    def _texts(self) -> list[str]:
        prompts = self._jsonl("benign/prompts/arena_hard_v0.1.jsonl", "prompt")
        path = self._path("benign/prompts/mt_bench.jsonl")
        if path is not None:
            with path.open(encoding="utf-8") as lines:
                prompts += [turn for line in lines if line.strip() for turn in json.loads(line)["turns"]]
        return prompts + self._personas

    @cached_property
    def _chain(self) -> tuple[dict[tuple[str, str], list[str]], list[tuple[str, str]]]:
        texts = list(self._texts)
        rng = np.random.default_rng(79)
        own = 200 if texts else 4000
        texts += [f"{self.question(rng)} {self.answer(rng)} {self.exercise(rng)}" for _ in range(own)]
        chain: dict[tuple[str, str], list[str]] = {}
        starts: list[tuple[str, str]] = []
        for text in texts:
            words = text.split()
            for place in range(len(words) - 2):
                chain.setdefault((words[place], words[place + 1]), []).append(words[place + 2])
            starts += [(words[place], words[place + 1]) for place in range(0, len(words) - 1, 7)]
        return chain, starts

    @cached_property
    def _vocabulary(self) -> list[str]:
        words = {word.lower() for first, second in self._chain[1] for word in (first, second)}
        return sorted(word for word in words if word.isalpha() and len(word) > 3)  # noqa: PLR2004 - no small words

    @cached_property
    def _personas(self) -> list[str]:
        path = self._path("benign/prompts/awesome_prompts.csv")
        if path is None:
            return []
        csv.field_size_limit(1 << 24)
        with path.open(encoding="utf-8", newline="") as file:
            return [row["prompt"][:600] for row in csv.DictReader(file) if row["prompt"].isascii()]

    @cached_property
    def _rubrics(self) -> list[Rubric]:
        path = self._path("attack/llm_judge_prompts.jsonl")
        if path is None:
            return [
                Rubric(
                    "own",
                    "You compare two answers and say which one serves the reader better.",
                    "Question: {question}\nFirst answer: {answer_a}\nSecond answer: {answer_b}\nRate both on a scale "
                    "of 1 to 10 and give your final verdict.",
                )
            ]
        with path.open(encoding="utf-8") as lines:
            records = [json.loads(line) for line in lines if line.strip()]
        return [Rubric(record["name"], record["system_prompt"], record["prompt_template"]) for record in records]

    @cached_property
    def _sessions(self) -> list[list[AgentStep]]:
        folder = self._path("benign/agents")
        if folder is None:
            rng = np.random.default_rng(80)
            return [[AgentStep(self.question(rng), f"THOUGHT: {self.answer(rng)}") for _ in range(8)] for _ in range(5)]
        found = []
        for path in sorted(folder.glob("*.jsonl")):
            with path.open(encoding="utf-8") as lines:
                records = [json.loads(line) for line in lines if line.strip()]
            found.append(
                [
                    AgentStep(
                        record["input"][:_OBSERVATION] if not place else record["input"][-_OBSERVATION:],
                        record["output"][:_OBSERVATION],
                    )
                    for place, record in enumerate(records)
                ]
            )
        return found

    @cached_property
    def _code(self) -> list[str]:
        steps = [step for session in self._sessions for step in session]
        return [line[:_LONGEST_LINE] for step in steps for line in step.observation.splitlines() if line.strip()]


def fill(template: str, places: dict[str, str]) -> str:
    """Put texts into a rubric's named places; numbered ones of several turns are filled alike."""
    out = template
    for name, text in places.items():
        for spelling in (name, *(f"{name}_{turn}" for turn in (1, 2))):
            out = out.replace("{" + spelling + "}", text)
    return out


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
