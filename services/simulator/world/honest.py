"""Honest archetypes: who makes most of a gateway's traffic. Counts are shares of ``honest`` accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.simulator.world import writers
from services.simulator.world.actors import Activity
from services.simulator.world.clients import AGENT_SYSTEM, PEOPLE, PROGRAMMERS, WORLD_CLIENTS, draw_client, own_settings
from services.simulator.world.plans import Api, Burst, Chat, Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.simulator.world.actors import Block

LICENSED_ORGANIZATIONS: Final = ("org-licensed-0", "org-licensed-1")
_AGE: Final = (2.0, 900.0)
_NEW: Final = 0.08  # Share of accounts that first come during the world.


def _begin(block: Block) -> float:
    return float(block.rng.uniform(0, block.days)) if block.rng.random() < _NEW else 0.0


def _age(begins: float) -> tuple[float, float]:
    return (0.0, 1.0) if begins else _AGE


def people(block: Block) -> None:
    """Add one chat user at home: popular apps, conversations."""
    rng = block.rng
    begins = _begin(block)
    plan = Chat(
        conversations=float(rng.lognormal(0.1, 0.9)),
        hour_weights=block.person_hours(),
        follow_up=float(rng.uniform(0.2, 0.8)),
        lengths=block.traces.lengths("conversation", rng, own=0.35),
        active=float(rng.uniform(0.2, 0.9)),
    )
    client = draw_client(rng, PEOPLE)
    system = writers_persona(block) if rng.random() < 0.06 else ""  # noqa: PLR2004 - few keep a persona
    activity = Activity(plan, writers.chat, client, tuple(block.home() for _ in range(1 + int(rng.integers(2)))))
    activity.begins, activity.system = begins, system
    block.add("person", [activity], _age(begins))


def writers_persona(block: Block) -> str:
    """Give the persona that one user keeps: short, and worded by himself."""
    words = ("short", "formal", "careful", "cheerful", "precise", "patient", "bold", "plain", "curious", "strict")
    chosen = " and ".join(str(word) for word in block.rng.choice(words, 3, replace=False))
    return f"Be {chosen}; I am user {int(block.rng.integers(10_000))} and want {int(block.rng.integers(1, 9))} points."


def developers(block: Block) -> None:
    """Add one programmer with a key: working hours, library defaults or settings of his own."""
    rng = block.rng
    begins = _begin(block)
    plan = Chat(
        conversations=float(rng.lognormal(0.8, 1.0)),
        hour_weights=block.person_hours(14),
        follow_up=float(rng.uniform(0.05, 0.7)),
        lengths=block.traces.lengths("code" if rng.random() < 0.4 else "conversation", rng, own=0.45, shift=0.8),  # noqa: PLR2004 - completion or chat
        active=float(rng.uniform(0.3, 0.95)),
        weekend=0.35,
    )
    address = block.cloud() if rng.random() < 0.3 else block.home()  # noqa: PLR2004 - notebooks and servers
    activity = Activity(plan, writers.programming, draw_client(rng, PROGRAMMERS), (address,), own_settings(rng))
    activity.begins = begins
    if "reasoner" in activity.client.model:
        activity.reasoning = 0.6
    if rng.random() < 0.5:  # noqa: PLR2004 - half of them write a system prompt
        activity.system = f"You are the assistant of project {int(rng.integers(1 << 30))}. {writers_persona(block)}"
    block.add("developer", [activity], _age(begins))


def services(block: Block) -> None:
    """Add one company's back end: its template, its users' week, a real API client's rate and lengths."""
    rng = block.rng
    number = int(rng.integers(1 << 30))
    client = block.traces.client(rng)
    begins = _begin(block)
    plan = Api(float(rng.lognormal(3.6, 0.9)), client, block.traces.lengths("conversation", rng, own=0.2))
    plan = Api(plan.requests, client, type(plan.lengths)(client.pairs, plan.lengths.centre, 0.1))
    activity = Activity(
        plan,
        writers.templated(number, int(rng.integers(8, 60)), int(rng.integers(20, 120))),
        draw_client(rng, PROGRAMMERS),
        (block.cloud(),),
        own_settings(rng),
        begins=begins,
    )
    if rng.random() < 0.6:  # noqa: PLR2004 - most services have one
        activity.system = f"Service {number}. {writers_persona(block)}"
    known = bool(rng.random() < 0.6)  # noqa: PLR2004 - of firms that registered as such
    block.add(
        "service",
        [activity],
        _age(begins),
        organization=f"org-service-{number}" if known else "",
        verified=known and bool(rng.random() < 0.7),  # noqa: PLR2004 - of those, verified
    )


def agents(block: Block) -> None:
    """Add one user of a popular coding agent: one public system prompt, tools, long sessions on his own code."""
    rng = block.rng
    begins = _begin(block)
    plan = Chat(
        conversations=float(rng.lognormal(-0.1, 0.8)),
        hour_weights=block.person_hours(15),
        follow_up=float(rng.uniform(0.75, 0.92)),
        lengths=block.traces.lengths("long" if rng.random() < 0.5 else "code", rng, own=0.5, shift=0.7),  # noqa: PLR2004 - as traced
        active=float(rng.uniform(0.3, 0.9)),
        weekend=0.5,
        longest=25,
        pause_s=25.0,
    )
    activity = Activity(
        plan,
        writers.agentic(int(rng.integers(1000))),
        WORLD_CLIENTS["agent"],
        (block.home(),),
        system=AGENT_SYSTEM,
        tools=True,
        begins=begins,
    )
    block.add("agent", [activity], _age(begins), group="popular agent template")


def harness_teams(block: Block) -> None:
    """Add one team that runs a public benchmark now and then, as every other team does."""
    rng = block.rng
    plan = Job(
        float(rng.lognormal(4.3, 0.5)),
        float(rng.uniform(0, 22)),
        block.traces.around(5.2, float(rng.normal(4.8, 0.3)), 0.4, rng),
        every=int(rng.integers(3, 7)),
        offset=int(rng.integers(7)),
        seconds=float(rng.uniform(0.7, 5)),
        workers=int(rng.choice([1, 1, 4, 8])),
    )
    shots = "Think step by step.\n" if rng.random() < 0.35 else ""  # noqa: PLR2004 - of harness configurations
    activity = Activity(
        plan, writers.benchmark(int(rng.integers(1300)), shots), WORLD_CLIENTS["harness"], (block.cloud(),)
    )
    block.add("benchmark team", [activity], _AGE, group="public benchmark")


def batches(block: Block) -> None:
    """Add one firm that classifies its customers' messages every night."""
    rng = block.rng
    plan = Job(
        float(rng.lognormal(4.2, 0.7)),
        float(rng.uniform(0, 23)),
        block.traces.around(4.9, 1.6, 0.3, rng),
        every=int(rng.choice([1, 1, 2, 7])),
        offset=int(rng.integers(7)),
        seconds=float(rng.uniform(0.4, 3)),
        workers=int(rng.choice([1, 4])),
    )
    number = int(rng.integers(1 << 30))
    activity = Activity(plan, writers.classifying(number), draw_client(rng, PROGRAMMERS), (block.cloud(),))
    activity.settings = {"temperature": 0.0, "max_tokens": int(rng.choice([8, 16, 32]))}
    block.add("batch classifier", [activity], _AGE, organization=f"org-batch-{number}", verified=bool(number % 2))


def judges(block: Block) -> None:
    """Add one product team that grades its own model's answers with a public rubric: many tokens in, a critique out."""
    rng = block.rng
    plan = Job(
        float(rng.lognormal(4.0, 0.6)),
        float(rng.uniform(6, 20)),
        block.traces.around(6.4, float(rng.normal(4.6, 0.5)), 0.35, rng),
        every=int(rng.choice([1, 2, 3])),
        offset=int(rng.integers(3)),
        seconds=3.0,
    )
    activity = Activity(
        plan,
        writers.judging(int(rng.integers(8))),
        draw_client(rng, PROGRAMMERS),
        (block.cloud(),),
        {"temperature": 0.0},
    )
    block.add("judge", [activity], _AGE, group="judges")


def translators(block: Block) -> None:
    """Add one person or shop that translates with the words that everybody uses."""
    rng = block.rng
    plan = Chat(
        float(rng.lognormal(1.8, 0.9)),
        block.person_hours(13),
        0.1,
        block.traces.lengths("conversation", rng, own=0.3),
        active=0.7,
        weekend=0.4,
    )
    activity = Activity(plan, writers.translating(str(block.choose(*writers.LANGUAGES))), draw_client(rng, PEOPLE), ())
    activity.addresses = (block.home(),)
    block.add("translator", [activity], _AGE)


def extractors(block: Block) -> None:
    """Add one small tool that reads documents: its own template, its owner's hours."""
    rng = block.rng
    number = int(rng.integers(1 << 30))
    plan = Chat(
        float(rng.lognormal(2.3, 0.9)),
        block.person_hours(13),
        0.02,
        block.traces.lengths("code", rng, own=0.4, shift=1.0),
        active=0.8,
        weekend=0.3,
    )
    activity = Activity(plan, writers.templated(number, 40, 90), draw_client(rng, PROGRAMMERS), (block.cloud(),))
    activity.settings = own_settings(rng) | {"temperature": 0.0}
    block.add("extractor", [activity], _AGE)


def rankers(block: Block) -> None:
    """Add one search team that asks for log-probabilities of yes and no."""
    rng = block.rng
    plan = Job(float(rng.lognormal(4.5, 0.5)), float(rng.uniform(0, 20)), block.traces.around(5.0, 0.1, 0.2, rng))
    activity = Activity(plan, writers.scoring, WORLD_CLIENTS["python"], (block.cloud(),))
    activity.settings = {"logprobs": True, "top_logprobs": 5, "max_tokens": 1, "temperature": 0.0}
    if rng.random() < 0.5:  # noqa: PLR2004 - one fixed vector, to force yes or no
        activity.settings["logit_bias"] = {"9642": 10, "2201": 10}
    block.add("ranker", [activity], _AGE)


def moderators(block: Block) -> None:
    """Add one platform's safety team: comments in, verdicts and refusals out."""
    rng = block.rng
    plan = Api(float(rng.lognormal(4.2, 0.5)), block.traces.client(rng), block.traces.around(4.8, 3.0, 0.5, rng))
    activity = Activity(plan, writers.policing, WORLD_CLIENTS["python-mini"], (block.cloud(),), own_settings(rng))
    block.add("moderator", [activity], _AGE, organization=f"org-mod-{int(rng.integers(1 << 30))}", verified=True)


def researchers(block: Block) -> None:
    """Add one lab that samples the same questions many times to study self-consistency."""
    rng = block.rng
    plan = Burst(
        float(rng.uniform(5, 14)),
        int(rng.choice([5, 8, 10])),
        block.traces.around(5.0, float(rng.normal(5.6, 0.3)), 0.35, rng),
        block.person_hours(15),
        gap_s=float(rng.uniform(0.5, 3)),
        every=int(rng.choice([1, 2, 3])),
        offset=int(rng.integers(3)),
    )
    writer = writers.repeated(int(rng.integers(1300)), "Let's think step by step.")
    activity = Activity(plan, writer, WORLD_CLIENTS["python"], (block.office(),), {"temperature": 0.7})
    block.add("self-consistency research", [activity], _AGE, group="self-consistency research")


def licensed(block: Block) -> None:
    """Add one key of a customer with a licence to distil: synthetic data all day long."""
    rng = block.rng
    place = len(block.actors) % len(LICENSED_ORGANIZATIONS)
    plan = Api(float(rng.uniform(60, 150)), block.traces.client(rng), block.traces.around(5.2, 6.4, 0.4, rng))
    activity = Activity(plan, writers.synthesis(500 + place), WORLD_CLIENTS["litellm"], (block.office(20 + place),))
    block.add(
        "licensed distiller",
        [activity],
        _AGE,
        organization=LICENSED_ORGANIZATIONS[place],
        verified=True,
        licensed=True,
        group="licensed distillers",
    )


# Share of all honest accounts, and the least number where a world has few.
ARCHETYPES: Final[tuple[tuple[str, Callable[[Block], None], float, int], ...]] = (
    ("people", people, 0.55, 30),
    ("developers", developers, 0.21, 15),
    ("services", services, 0.022, 3),
    ("agents", agents, 0.065, 6),
    ("harness", harness_teams, 0.013, 4),
    ("batches", batches, 0.009, 2),
    ("judges", judges, 0.007, 2),
    ("translators", translators, 0.03, 4),
    ("extractors", extractors, 0.022, 3),
    ("rankers", rankers, 0.002, 1),
    ("moderators", moderators, 0.001, 1),
    ("researchers", researchers, 0.002, 1),
    ("licensed", licensed, 0.002, 2),
)
