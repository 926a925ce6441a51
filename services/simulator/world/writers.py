"""What people and honest programs write. A writer is made once for an account, with its own template if it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.simulator.library import fill
from services.simulator.world.actors import Utterance

if TYPE_CHECKING:
    import numpy as np

    from services.simulator.behaviour import Turn
    from services.simulator.library import Library
    from services.simulator.world.actors import Writer

LANGUAGES: Final = ("German", "French", "Spanish", "Japanese", "Polish", "Italian", "Korean", "Swedish", "Turkish")
_CODE: Final = 0.4
_REFUSED: Final = 0.004  # Of ordinary questions.
_REFUSALS: Final = (
    "I'm sorry, but I can't help with that request.",
    "I cannot assist with this, as it goes against my guidelines.",
    "I am unable to provide that. If you tell me what it is for, I may help another way.",
)


def refusal(rng: np.random.Generator) -> str:
    """Give one way to decline."""
    return _REFUSALS[int(rng.integers(len(_REFUSALS)))]


def chat(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
    """Write a person's question, or what follows it."""
    prompt = library.follow(rng, topic) if turn.place else library.ask(rng, topic)
    if rng.random() < _REFUSED:
        return Utterance(prompt, refusal(rng), refused=True)
    return Utterance(prompt, library.reply(rng, topic))


def programming(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
    """Write a programmer's question, often with code."""
    words = library.follow(rng, topic) if turn.place else library.ask(rng, topic)
    code = f"\n```\n{library.code(rng, int(rng.integers(2, 12)))}\n```" if rng.random() < _CODE else ""
    return Utterance(words + code, library.reply(rng, topic))


def templated(number: int, words: int = 22, slot: int = 40) -> Writer:
    """Make a program's writer: its own instruction, then whatever its users gave it."""

    def write(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
        del turn
        given = library.prose(rng, int(rng.integers(slot // 3, slot * 2)), topic)
        return Utterance(f"{library.template(number, words)}\n\nInput: {given}", library.prose(rng, 20, topic))

    return write


def translating(language: str) -> Writer:
    """Make a translator's writer: words that thousands of strangers use."""

    def write(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
        del turn
        text = library.prose(rng, int(rng.integers(8, 60)), topic)
        prompt = f"Translate the following text into {language} and keep its tone: {text}"
        return Utterance(prompt, library.prose(rng, 25, topic))

    return write


def classifying(number: int) -> Writer:
    """Make a batch job's writer: a firm's own frame around customer messages."""

    def write(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
        del turn, topic
        frame = f"{library.template(number, 30)} Answer with one of our labels only."
        return Utterance(f"{frame}\nMessage: {library.ticket(rng)}", f"label_{int(rng.integers(77))}")

    return write


def benchmark(first: int, shots: str = "") -> Writer:
    """Make an evaluation harness's writer: the public problems in their order, from one of them on."""

    def write(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
        del topic
        problem = library.problem_at(first + turn.conversation % 100_000)
        answer = f"{library.prose(rng, 25)} #### {int(rng.integers(1, 500))}"
        return Utterance(f"{shots}Question: {problem}\nAnswer with a number at the end. Answer:", answer)

    return write


def judging(place: int) -> Writer:
    """Make a grader's writer: one rubric, the team's own questions and candidates."""

    def write(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
        del turn
        rubric = library.rubric(place)
        question = library.problem(rng) if place % 2 else library.ask(rng, topic)
        places = {
            "question": question,
            "answer": library.prose(rng, 50),
            "answer_a": library.prose(rng, 50),
            "answer_b": library.prose(rng, 50),
            "ref_answer": library.prose(rng, 20),
        }
        verdict = f"{library.prose(rng, 30)} My final verdict is [[{int(rng.integers(1, 11))}]]"
        return Utterance(fill(rubric.template, places), verdict, system=rubric.system)

    return write


def agentic(number: int) -> Writer:
    """Make a coding agent's writer: tasks of the user's own, then tool output as recorded sessions hold it."""

    def write(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
        steps = library.session(number + turn.conversation)
        step = steps[turn.place % len(steps)]
        said = f"{step.output[:400]} {library.prose(rng, 12, topic)}"
        if not turn.place:
            return Utterance(f"{library.ask(rng, topic)}\n{library.code(rng, int(rng.integers(3, 15)))}", said)
        seen = f"<returncode>{int(rng.integers(0, 2))}</returncode>\n{step.observation[:600]}\n"
        return Utterance(seen + library.code(rng, int(rng.integers(1, 8))), said)

    return write


def lesson(exercises: int, opening: str) -> Writer:
    """Make a student's writer: the sheet's exercises, and the student's own attempt and follow-ups."""

    def write(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
        if turn.place:
            return Utterance(library.follow(rng, topic), library.reply(rng, topic))
        number = int(rng.integers(exercises))
        task = f"{opening} Exercise {number}: {library.template(9_000 + number, 25)}"
        return Utterance(f"{task} What I tried: {library.prose(rng, 25, topic)}", library.reply(rng, topic))

    return write


def repeated(seed: int, cue: str) -> Writer:
    """Make a sampler's writer: every repeat of one prompt is the same text."""

    def write(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
        del topic
        problem = library.problem_at(seed + turn.conversation * 7)
        return Utterance(f"{problem}\n{cue}", library.reply(rng))

    return write


def scoring(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
    """Write a text whose likelihood a search engine's ranker asks for."""
    del turn
    return Utterance(f"Is this passage relevant? {library.prose(rng, 40, topic)} Answer yes or no:", "yes")


def policing(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
    """Write what a safety team sends: users' comments, half of them declined."""
    del turn
    prompt = f"Does this comment break our content policy? {library.prose(rng, 35, topic)}"
    if rng.random() < 0.25:  # noqa: PLR2004 - of comments that the model will not repeat
        return Utterance(prompt, refusal(rng), refused=True)
    return Utterance(prompt, library.prose(rng, 12, topic))


def synthesis(number: int) -> Writer:
    """Make a licensed customer's writer: instruction data, as the licence allows."""

    def write(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
        del turn, topic
        frame = library.template(number, 20)
        prompt = f"{frame} Write a new instruction of this kind and answer it: {library.seed(rng)}"
        return Utterance(f"{prompt} {library.exercise(rng)}", library.reply(rng))

    return write
