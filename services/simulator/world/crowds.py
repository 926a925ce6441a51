"""Hard negatives: honest crowds that look like a campaign, most of them on the very days on which campaigns run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from services.simulator.behaviour import hours
from services.simulator.world import writers
from services.simulator.world.actors import Activity, Utterance
from services.simulator.world.clients import PEOPLE, PROGRAMMERS, WORLD_CLIENTS, draw_client
from services.simulator.world.plans import Api, Chat, Job

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from services.simulator.behaviour import Turn
    from services.simulator.library import Library
    from services.simulator.world.actors import Block

_OLD: Final = (20.0, 900.0)
_TUTOR: Final = "You are the course assistant. Give hints first, and whole solutions only after an attempt was shown."
_LAUNCH: Final = "You are Marginalia, a reading companion. Talk about the book at hand and never spoil its ending."
_HACKATHON: Final = "You are the demo assistant of this weekend's hackathon starter kit."


def sharding_firm(block: Block, size: int) -> None:
    """Add a firm that spreads a new nightly job over many keys, under its own name."""
    writer = writers.classifying(int(block.rng.integers(1 << 30)))
    for place in range(size):
        plan = Job(70, 2 + 0.02 * place, block.traces.around(4.9, 1.6, 0.3, block.rng))
        activity = Activity(plan, writer, WORLD_CLIENTS["python-mini"], (block.office(1),), begins=block.lead_days)
        activity.settings = {"temperature": 0.0, "max_tokens": 16}
        block.add("sharded batch", [activity], _OLD, organization="org-sharding-firm", verified=True, group=block.name)


def unverified_company(block: Block, size: int) -> None:
    """Add a firm that nobody has on record: keys of its servers, one network, one template, its users' hours."""
    rng = block.rng
    number = int(rng.integers(1 << 30))
    client, api = draw_client(rng, PROGRAMMERS), block.traces.client(rng)
    for _ in range(size):
        # A balancer deals the same users' requests to all servers, which is what makes it look like a harvest.
        plan = Api(30, api, block.traces.around(5.4, 5.2, 0.7, rng))
        activity = Activity(plan, writers.templated(number, 40, 60), client, (block.office(2),))
        activity.system = f"You answer questions about product line {number}."
        block.add("unverified company", [activity], _OLD, group=block.name)


def reseller(block: Block, size: int) -> None:
    """Add keys of a proxy with many innocent end users: everybody's prompts from one network."""
    rng = block.rng
    for _ in range(size):
        plan = Chat(
            float(rng.uniform(25, 60)),
            hours(15, 1.5),
            0.45,
            block.traces.lengths("conversation", rng, own=0.05),
            active=1.0,
            weekend=0.9,
        )
        activity = Activity(plan, _many_minds, WORLD_CLIENTS["litellm"], (f"198.18.95.{10 + len(block.actors)}",))
        activity.end_users = 80
        block.add("reseller", [activity], _OLD, group=block.name)


def launch(block: Block, size: int) -> None:
    """Add a tool's launch: new accounts from everywhere on one system prompt, who come, talk and mostly go."""
    rng = block.rng
    for _ in range(size):
        comes = block.lead_days + float(rng.exponential(0.7))
        person = _person(block, volume=0.7, follow_up=(0.3, 0.85))
        activity = Activity(person, writers.chat, WORLD_CLIENTS["node"], (block.home(),), system=_LAUNCH)
        activity.begins, activity.ends = comes, comes + float(rng.exponential(1.5)) + 0.02
        block.add("launch", [activity], (0.0, 0.05), group=block.name)


def workshop(block: Block, size: int) -> None:
    """Add a workshop: two hours in one room, new accounts, one notebook, the same cells run by everybody."""
    rng = block.rng
    begins = block.lead_days + 1 + 13 / 24
    for _ in range(size):
        plan = Chat(
            float(rng.uniform(6, 16)), hours(14, 0.02), 0.35, block.traces.lengths("code", rng, own=0.3, shift=1)
        )
        activity = Activity(
            replace(plan, active=1.0, weekend=1.0),
            writers.lesson(9, "Cell of the workshop's notebook."),
            WORLD_CLIENTS["python"],
            (f"172.16.60.{1 + int(rng.integers(4))}",),
        )
        activity.begins, activity.ends = begins, begins + 2.2 / 24
        block.add("workshop", [activity], (0.0, 0.1), group=block.name)


def class_of_students(block: Block, size: int) -> None:
    """Add a course: accounts of the term's start on the campus network, one tutor prompt, the lesson's hours."""
    for _ in range(size):
        plan = _person(block, volume=0.9, follow_up=(0.3, 0.8), peak=11, width=0.25)
        activity = Activity(
            plan, writers.lesson(12, "Sheet of this week."), WORLD_CLIENTS["python"], (block.office(5),)
        )
        activity.system, activity.begins = _TUTOR, max(0.0, block.lead_days - 2)
        block.add("class", [activity], (0.1, 6.0), group=block.name)


def office_network(block: Block, size: int) -> None:
    """Add a firm's staff behind one address: different work, different clients, no organisation on record."""
    for _ in range(size):
        plan = _person(block, volume=1.2, follow_up=(0.1, 0.7), peak=13, width=0.4)
        client = draw_client(block.rng, PEOPLE if block.rng.random() < 0.6 else PROGRAMMERS)  # noqa: PLR2004 - staff
        block.add("office", [Activity(plan, writers.chat, client, ("172.31.9.1",))], _OLD, group=block.name)


def test_suites(block: Block, size: int) -> None:
    """Add contributors of one open-source project: each one's CI sends the project's fixed prompts when he pushes."""
    rng = block.rng
    for _ in range(size):
        plan = Job(
            24,
            float(rng.uniform(8, 22)),
            block.traces.around(4.8, 4.5, 0.3, rng),
            every=int(rng.choice([1, 2, 3])),
            offset=int(rng.integers(3)),
            seconds=1.0,
        )
        activity = Activity(plan, _fixtures, WORLD_CLIENTS["python-mini"], (block.cloud(),), {"temperature": 0.0})
        block.add("test suite", [activity], _OLD, group=block.name)


def hackathon(block: Block, size: int) -> None:
    """Add a weekend's hackathon: new accounts, a starter kit with one system prompt and settings, late hours."""
    rng = block.rng
    begins = block.lead_days + 0.6
    for place in range(size):
        plan = _person(block, volume=2.0, follow_up=(0.1, 0.6), peak=20, width=0.8)
        writer = writers.templated(7_000_000 + place // 3, 25, 40) if rng.random() < 0.6 else writers.programming  # noqa: PLR2004 - builders and askers
        activity = Activity(plan, writer, WORLD_CLIENTS["node-large"], (f"172.17.8.{1 + int(rng.integers(8))}",))
        activity.system, activity.settings = _HACKATHON, {"temperature": 0.7, "max_tokens": 1000}
        activity.begins, activity.ends = begins, begins + 1.6
        block.add("hackathon", [activity], (0.0, 0.5), group=block.name)


def _person(
    block: Block,
    volume: float,
    follow_up: tuple[float, float],
    peak: float | None = None,
    width: float | None = None,
) -> Chat:
    rng = block.rng
    return Chat(
        float(rng.lognormal(volume, 0.8)),
        block.person_hours(peak, width),
        float(rng.uniform(*follow_up)),
        block.traces.lengths("conversation", rng, own=0.35),
        active=float(rng.uniform(0.5, 0.95)),
        weekend=0.8,
    )


def _many_minds(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
    # The subject is the end user's, not the key's: conversations of one number are one person's.
    return writers.chat(library, rng, turn, topic + turn.conversation % 80)


def _fixtures(library: Library, rng: np.random.Generator, turn: Turn, topic: int) -> Utterance:
    del rng, topic
    prompt = library.template(6_000_000 + turn.conversation % 24, 30)
    return Utterance(prompt, library.template(6_100_000 + turn.conversation % 24, 25))


# Name, maker, accounts for 3,000 honest ones.
CROWDS: Final[tuple[tuple[str, Callable[[Block, int], None], int], ...]] = (
    ("sharding firm", sharding_firm, 20),
    ("unverified company", unverified_company, 10),
    ("reseller", reseller, 6),
    ("launch", launch, 60),
    ("workshop", workshop, 40),
    ("class", class_of_students, 35),
    ("office network", office_network, 25),
    ("test suites", test_suites, 12),
    ("hackathon", hackathon, 30),
)
