"""What each recipe writes: the system prompt of a tool, the frame of a template, the slots of a harvest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from services.simulator.corpus import Corpus

AGENT_SYSTEM: Final = (
    "You are a coding agent that works in a repository. Think about the task, call one tool at a time, read its output "
    "with care, and finish with a short report of what changed and how it was verified. Never invent file contents."
)
TUTOR_SYSTEM: Final = (
    "You are the course assistant of an introductory programming class. Answer with hints first and full solutions "
    "only when the student has shown an attempt. Be kind and precise."
)
LAUNCH_SYSTEM: Final = (
    "You are Marginalia, a reading companion that was launched this week. Talk with the reader about the book at hand, "
    "never spoil the ending, and end with one open question."
)
HARVEST_SYSTEM: Final = (
    "You are an expert teacher. For the item below, think step by step, show every intermediate step of your "
    "reasoning, then give the final answer on its own line. Be complete: the text will be read without its question."
)
SERVICE_FRAMES: Final = (
    "Classify the customer message into one of our categories and answer with the category only. Message:",
    "Rewrite the following product description so that it fits our house style and stays under eighty words. Text:",
    "Extract the names, dates and amounts from this note as JSON, and leave out what is not stated. Note:",
    "Translate the following sentence into German and keep the register of the original. Sentence:",
    "Write alternative text for a picture that is described like this by our editor. Description:",
    "Summarise this support conversation in two sentences for the next colleague on shift. Conversation:",
    "Decide whether the comment below breaks our community rules and name the rule if so. Comment:",
    "Suggest three short titles for the article that follows, in the voice of our magazine. Article:",
)


def write_prompt(recipe: str, corpus: Corpus, rng: np.random.Generator, place: int, frame: int) -> str:
    """Write the user's message for one turn. ``frame`` chooses the account's own template where the recipe has one."""
    return _WRITERS.get(recipe, _question)(corpus, rng, place, frame)


def _question(corpus: Corpus, rng: np.random.Generator, place: int, frame: int) -> str:
    del place, frame
    return corpus.question(rng)


def _service(corpus: Corpus, rng: np.random.Generator, place: int, frame: int) -> str:
    del place
    return f"{SERVICE_FRAMES[frame % len(SERVICE_FRAMES)]} [client {frame}] {corpus.question(rng)}"


def _batch(corpus: Corpus, rng: np.random.Generator, place: int, frame: int) -> str:
    del place
    return f"{SERVICE_FRAMES[0]} [queue {frame}] {corpus.ticket(rng)}"


def _benchmark(corpus: Corpus, rng: np.random.Generator, place: int, frame: int) -> str:
    del rng
    # Every team goes through the same problems, each from a start of its own.
    return f"Question: {corpus.problem_at(place + frame)}\nAnswer with a number at the end. Answer:"


def _agent(corpus: Corpus, rng: np.random.Generator, place: int, frame: int) -> str:
    del frame
    if place == 0:
        return f"Task: {corpus.question(rng)} Change the code so that the tests pass."
    return f"Tool output: exit status {int(rng.integers(0, 3))}; {corpus.answer(rng, 1)}"


def _class(corpus: Corpus, rng: np.random.Generator, place: int, frame: int) -> str:
    return f"Exercise {1 + (frame + place) % 9}: {corpus.question(rng)} Here is what I tried: {corpus.answer(rng, 1)}"


def _synthesis(corpus: Corpus, rng: np.random.Generator, place: int, frame: int) -> str:
    del place, frame
    return (
        f"Create a new instruction like this one, more difficult and on another subject, then answer it in full, "
        f"with all of your reasoning. Seed: {corpus.seed(rng)} Constraint: {corpus.exercise(rng)}"
    )


def _template(corpus: Corpus, rng: np.random.Generator, place: int, frame: int) -> str:
    del place, frame
    return f"Explain the item in depth, step by step, with a worked example for a learner. Item: {corpus.exercise(rng)}"


def _sharded(corpus: Corpus, rng: np.random.Generator, place: int, frame: int) -> str:
    del place, frame
    return f"{corpus.exercise(rng)}. {corpus.seed(rng)}"


_WRITERS: Final[dict[str, Callable[[Corpus, np.random.Generator, int, int], str]]] = {
    "service": _service,
    "batch": _batch,
    "sharded-batch": _batch,
    "benchmark": _benchmark,
    "agent": _agent,
    "class": _class,
    "heavy-synthesis": _synthesis,
    "shared-template": _template,
    "sharded-harvest": _sharded,
}
