"""Recipes of harvests. Each adds one campaign's accounts to a block; what a recipe does not fix, its style draws.

``tuning`` recipes may be looked at while the detector is worked on. ``held-out`` ones are other mechanisms and other
wordings, and only an evaluation meets them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from services.simulator.world import requests, writers
from services.simulator.world.actors import Activity
from services.simulator.world.clients import AGENT_SYSTEM, PEOPLE, PROGRAMMERS, WORLD_CLIENTS, draw_client
from services.simulator.world.plans import Burst, Chat, Job, Mirrored, Queue
from services.simulator.world.style import draw_style, jitter, long_answers, worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.simulator.world.actors import Actor, Block, Writer
    from services.simulator.world.style import Style

_YOUNG: Final = (0.1, 8.0)
_BOUGHT: Final = (60.0, 700.0)
_HEAVY: Final = (5.0, 200.0)


@dataclass(frozen=True, slots=True)
class Recipe:
    """``accounts`` is the usual size, ``least`` the smallest that is still this recipe."""

    name: str
    held_out: bool
    accounts: int
    least: int
    make: Callable[[Block, int], None]
    story: str


def _tuning(name: str, accounts: int, least: int, make: Callable[[Block, int], None], story: str) -> Recipe:
    return Recipe(name, held_out=False, accounts=accounts, least=least, make=make, story=story)


def _held_out(name: str, accounts: int, least: int, make: Callable[[Block, int], None], story: str) -> Recipe:
    return Recipe(name, held_out=True, accounts=accounts, least=least, make=make, story=story)


def _add(block: Block, style: Style, activities: list[Activity], age: tuple[float, float], **more: Any) -> Actor:
    return block.add(
        "harvester", activities, age, payment=style.payment(block), campaign=block.name, recipe=_recipe(block), **more
    )


def _recipe(block: Block) -> str:
    return block.name.partition("#")[0]


def _fleet(block: Block, size: int, style: Style, rate: float, writer: Writer, age: tuple[float, float]) -> None:
    """Add workers that share a queue: the same lengths for all."""
    lengths = long_answers(block)
    rate = jitter(block, rate)
    for _ in range(size):
        _add(block, style, [worker(block, style, rate, writer, lengths)], age)


def sharded(block: Block, size: int) -> None:
    """Add the large published campaigns in small: many new accounts, about 26 bare requests a day each."""
    _fleet(block, size, draw_style(block), 26, requests.bare, _YOUNG)


def sharded_custom(block: Block, size: int) -> None:
    """Add a sharded harvest with settings of its own, on servers."""
    _fleet(block, size, draw_style(block, copied=False, addresses="clouds"), 26, requests.bare, _YOUNG)


def shared_template(block: Block, size: int) -> None:
    """Add accounts that put public seeds into one template."""
    _fleet(block, size, draw_style(block), 40, requests.framed(int(block.rng.integers(6)), held_out=False), _YOUNG)


def system_template(block: Block, size: int) -> None:
    """Add accounts whose frame is the system prompt."""
    style = draw_style(block)
    lengths, rate = long_answers(block), jitter(block, 35)
    frame = requests.frame_text(int(block.rng.integers(6)), held_out=True)
    for _ in range(size):
        activity = worker(block, style, rate, requests.bare, lengths)
        activity.system = frame
        _add(block, style, [activity], _YOUNG)


def template_rotation(block: Block, size: int) -> None:
    """Add accounts that take one of several templates for each request."""
    writer = requests.framed(int(block.rng.integers(6)), held_out=False, frames=int(block.rng.integers(3, 6)))
    _fleet(block, size, draw_style(block), 35, writer, _YOUNG)


def paraphrase(block: Block, size: int) -> None:
    """Add accounts whose template is worded anew each time."""
    _fleet(block, size, draw_style(block), 38, requests.paraphrased, _YOUNG)


def bare_residential(block: Block, size: int) -> None:
    """Add accounts with bare prompts, a popular client's settings and household addresses."""
    _fleet(block, size, draw_style(block, copied=True, addresses="homes"), 40, requests.bare, (3.0, 40.0))


def aged_copied(block: Block, size: int) -> None:
    """Add bought accounts of months: silent before, popular settings, household addresses, bare prompts."""
    style = draw_style(block, copied=True, addresses="homes")
    style.cards = 1
    _fleet(block, size, style, 30, requests.bare, _BOUGHT)


def best_of_n(block: Block, size: int) -> None:
    """Add a few accounts that sample each prompt several times."""
    style = draw_style(block)
    style.settings |= {"temperature": 1.0}
    for _ in range(size):
        plan = Burst(jitter(block, 50), int(block.rng.integers(6, 13)), long_answers(block), style.hour_weights(block))
        writer = requests.common(int(block.rng.integers(1 << 30)))
        _add(block, style, [worker(block, style, 0, writer, plan.lengths, plan)], _HEAVY)


def _heavy(block: Block, size: int, rate: float, writer: Writer, log_input: float, log_output: float) -> None:
    style = draw_style(block)
    for _ in range(size):
        lengths = block.traces.around(log_input, log_output, 0.4, block.rng)
        _add(block, style, [worker(block, style, jitter(block, rate), writer, lengths)], _HEAVY)


def reasoning_traces(block: Block, size: int) -> None:
    """Add a few accounts that ask for the way to hundreds of answers a day."""
    style = draw_style(block)
    style.client = WORLD_CLIENTS["python-reasoner"]
    lengths = block.traces.around(4.8, 7.2, 0.45, block.rng)
    for _ in range(size):
        activity = worker(block, style, jitter(block, 450), requests.reasoning(held_out=False), lengths)
        activity.reasoning = 0.7
        _add(block, style, [activity], _HEAVY)


def reasoning_sharded(block: Block, size: int) -> None:
    """Add accounts that look like teams on a public benchmark, over problems that no benchmark holds."""
    style = draw_style(block, addresses="clouds")
    style.client, style.settings = WORLD_CLIENTS["harness"], {}
    lengths, rate = block.traces.around(5.2, 5.6, 0.4, block.rng), jitter(block, 30)
    for _ in range(size):
        _add(block, style, [worker(block, style, rate, requests.benchmark_like, lengths)], (1.0, 60.0))


def rubric_grading(block: Block, size: int) -> None:
    """Add a few accounts that have their own model's answers marked by a public rubric."""
    _heavy(block, size, 300, requests.grading(int(block.rng.integers(8)), pairs=False), 6.4, 4.2)


def preference_pairs(block: Block, size: int) -> None:
    """Add accounts that share out pairs to be compared, for a reward model."""
    style = draw_style(block)
    lengths, rate = block.traces.around(6.2, 4.4, 0.35, block.rng), jitter(block, 32)
    for _ in range(size):
        _add(block, style, [worker(block, style, rate, requests.grading(0, pairs=True), lengths)], _YOUNG)


def refusal_boundary(block: Block, size: int) -> None:
    """Add accounts that map what the model declines."""
    _heavy(block, size, 200, requests.boundary, 4.3, 4.9)


def synthesis_heavy(block: Block, size: int) -> None:
    """Add a single account that makes instruction data round the clock."""
    _heavy(block, size, 1400, requests.synthesis, 5.0, 6.9)


def logprob_probe(block: Block, size: int) -> None:
    """Add accounts that read logits through bias vectors."""
    style = draw_style(block, copied=True)
    style.settings = {"logprobs": True, "top_logprobs": 5, "max_tokens": 1, "temperature": 0.0}
    lengths = block.traces.around(3.0, 0.0, 0.1, block.rng)
    for _ in range(size):
        plan = Job(jitter(block, 500 / size), float(block.rng.uniform(6, 18)), lengths, seconds=3.0)
        _add(block, style, [worker(block, style, 0, requests.probe, lengths, plan)], _HEAVY)


def resale_mix(block: Block, size: int, harvest: float | None = None) -> None:
    """Add a proxy's keys, whose traffic is innocent end users' and, in part, one buyer's harvest."""
    rng = block.rng
    share = float(rng.choice([0.2, 0.4, 0.8])) if harvest is None else harvest
    style = draw_style(block, addresses="clouds")
    total = jitter(block, 90)
    lengths = long_answers(block)
    for _ in range(size):
        own = Chat(
            total * (1 - share) / 2,
            block.person_hours(15, 1.6),
            0.5,
            block.traces.lengths("conversation", rng, own=0.05),
            active=1.0,
        )
        address = (style.address(block),)
        innocents = Activity(own, _end_users, style.client, address, dict(style.settings), end_users=60)
        innocents.begins = max(0.0, block.lead_days - 3.0)
        taken = worker(block, style, total * share, requests.bare, lengths)
        taken.addresses, taken.end_users = address, 5
        _add(block, style, [innocents, taken], (10.0, 90.0))


def resale_thin(block: Block, size: int) -> None:
    """Add a proxy that mixes in a tenth of harvest only."""
    resale_mix(block, size, harvest=0.12)


def coincident(block: Block, size: int) -> None:
    """Add accounts that get the same prompts within seconds, to compare or to vote."""
    rng = block.rng
    style = draw_style(block)
    seed = int(rng.integers(1 << 30))
    common = Queue(jitter(block, 30), long_answers(block), style.hour_weights(block), noise=style.noise)
    for _ in range(size):
        plan = Mirrored(common, seed, jitter_s=float(rng.uniform(1, 4)))
        _add(block, style, [worker(block, style, 0, requests.common(seed), common.lengths, plan)], (2.0, 60.0))


def _own_life(block: Block, client: Any, address: str, volume: float) -> Activity:
    rng = block.rng
    plan = Chat(
        float(rng.lognormal(volume, 0.5)),
        block.person_hours(),
        float(rng.uniform(0.2, 0.7)),
        block.traces.lengths("conversation", rng, own=0.4),
        active=0.9,
    )
    return Activity(plan, writers.chat, client, (address,))


def _diluted(block: Block, size: int, share: float, writer: Writer) -> None:
    """Add aged accounts with a life of their own, client and household included; the harvest hides in each."""
    style = draw_style(block, copied=True, addresses="homes")
    style.cards = 1
    lengths = long_answers(block)
    for _ in range(size):
        client = draw_client(block.rng, PEOPLE if block.rng.random() < 0.5 else PROGRAMMERS)  # noqa: PLR2004 - a coin
        address = style.address(block)
        own = _own_life(block, client, address, 2.0)
        taken = worker(block, style, 25 * share / (1 - share), writer, lengths)
        taken.client, taken.addresses = client, (address,)
        _add(block, style, [own, taken], _BOUGHT)


def diluted(block: Block, size: int) -> None:
    """Add harvest of a third of each account's own traffic, by one template."""
    _diluted(block, size, 0.3, requests.framed(int(block.rng.integers(6)), held_out=False))


def diluted_thin(block: Block, size: int) -> None:
    """Add harvest of an eighth of each account's own traffic, with bare prompts."""
    _diluted(block, size, 0.12, requests.bare)


def _agents(block: Block, size: int, sessions: float, addresses: str) -> None:
    style = draw_style(block, copied=True, addresses=addresses)
    style.client, style.settings = WORLD_CLIENTS["agent"], {}
    lengths = block.traces.lengths("long", block.rng, own=0.1, shift=0.7)
    for place in range(size):
        plan = Chat(
            sessions,
            block.person_hours(15, 1.0) if style.hours == "own" else style.common,
            0.9,
            lengths,
            active=1.0,
            weekend=1.0,
            longest=25,
            pause_s=12.0,
        )
        activity = worker(block, style, 0, requests.trajectories(1000 + 37 * place), lengths, plan)
        activity.tools = True
        activity.system = AGENT_SYSTEM
        _add(block, style, [activity], (5.0, 300.0))


def trajectories(block: Block, size: int) -> None:
    """Add a few accounts that harvest an agent's sessions on a list of tasks, behind the popular agent's template."""
    _agents(block, size, 12, "clouds")


def trajectories_quiet(block: Block, size: int) -> None:
    """Add the same from households at a third of the pace."""
    _agents(block, size, 4, "homes")


def slow_warm_up(block: Block, size: int) -> None:
    """Add accounts that come early and grow slowly, so that a reference that learns gets used to them."""
    style = draw_style(block)
    style.begins = max(0.0, block.lead_days - 4.0)
    lengths, rate = long_answers(block), jitter(block, 45)
    writer = requests.framed(int(block.rng.integers(6)), held_out=True)
    for _ in range(size):
        plan = Queue(rate, lengths, style.hour_weights(block), style.noise, ramp=6.0, since=style.begins)
        _add(block, style, [worker(block, style, 0, writer, lengths, plan)], (0.1, 2.0))


def take_over(block: Block, size: int) -> None:
    """Add keys that are used until they are refused; within the hour the next one goes on from the same rack."""
    style = draw_style(block, addresses="rack")
    style.racks = style.racks[:1]
    lengths, rate = long_answers(block), jitter(block, 120)
    life = max((block.days - style.begins) / max(size, 1), 0.12)
    for place in range(size):
        activity = worker(block, style, rate, requests.bare, lengths)
        activity.begins = style.begins + place * life
        activity.rejected_from = activity.begins + life
        activity.ends = activity.rejected_from + 0.03
        plan = Queue(rate, lengths, None, style.noise)
        activity.plan = plan
        _add(block, style, [activity], (1.0, 400.0))


def burned_waves(block: Block, size: int) -> None:
    """Add accounts in waves: each lives for half a day and is replaced."""
    style = draw_style(block)
    lengths, rate = long_answers(block), jitter(block, 90)
    writer = requests.framed(int(block.rng.integers(6)), held_out=True, frames=3)
    span = block.days - style.begins
    waves = max(1, min(int(span / 0.5), size // 4))
    for place in range(size):
        activity = worker(block, style, rate, writer, lengths)
        activity.begins = style.begins + (place % waves) * span / waves
        activity.ends = activity.begins + 0.5
        _add(block, style, [activity], (0.0, 1.0))


def _end_users(library: Any, rng: Any, turn: Any, topic: int) -> Any:
    return writers.chat(library, rng, turn, topic + turn.conversation % 60)


RECIPES: Final[tuple[Recipe, ...]] = (
    _tuning("sharded", 30, 8, sharded, "many new accounts, 26 bare requests a day each"),
    _tuning("shared-template", 12, 5, shared_template, "public seeds in one template"),
    _tuning("template-rotation", 14, 6, template_rotation, "three to five templates in rotation"),
    _tuning("best-of-n", 2, 1, best_of_n, "each prompt sampled 6 to 12 times"),
    _tuning("reasoning-traces", 2, 1, reasoning_traces, "450 derivations a day and account"),
    _tuning("rubric-grading", 3, 1, rubric_grading, "marks for a reward model"),
    _tuning("logprob-probe", 1, 1, logprob_probe, "logits through bias vectors"),
    _tuning("resale-mix", 10, 4, resale_mix, "a proxy with 20, 40 or 80 % harvest"),
    _tuning("coincident", 8, 4, coincident, "the same prompts within seconds"),
    _tuning("aged-copied", 20, 8, aged_copied, "bought accounts, popular settings, households"),
    _tuning("diluted", 16, 8, diluted, "a template in 30 % of the account's own traffic"),
    _tuning("agent-trajectories", 5, 3, trajectories, "agent sessions on a list of tasks"),
    _held_out("sharded-custom", 24, 8, sharded_custom, "as sharded, on servers, settings of its own"),
    _held_out("system-template", 12, 5, system_template, "the frame is the system prompt"),
    _held_out("paraphrase", 14, 6, paraphrase, "the template worded anew each time"),
    _held_out("bare-residential", 12, 5, bare_residential, "bare prompts from households"),
    _held_out("refusal-boundary", 3, 1, refusal_boundary, "what the model declines"),
    _held_out("synthesis-heavy", 1, 1, synthesis_heavy, "one account, instruction data all day"),
    _held_out("logprob-sharded", 4, 2, logprob_probe, "the probe dealt to four accounts"),
    _held_out("resale-thin", 10, 4, resale_thin, "a proxy with 12 % harvest"),
    _held_out("slow-warm-up", 14, 6, slow_warm_up, "grows over six days, from before the attack days"),
    _held_out("take-over", 8, 4, take_over, "the next key when one is refused"),
    _held_out("diluted-thin", 20, 8, diluted_thin, "bare prompts, 12 % of the account's own traffic"),
    _held_out("agent-quiet", 4, 3, trajectories_quiet, "agent sessions from households, a third of the pace"),
    _held_out("burned-waves", 24, 8, burned_waves, "accounts of half a day, replaced in waves"),
    _held_out("preference-pairs", 12, 5, preference_pairs, "pairs to compare, shared out"),
    _held_out("benchmark-mimic", 16, 6, reasoning_sharded, "looks like teams on a public benchmark"),
)
BY_NAME: Final = {recipe.name: recipe for recipe in RECIPES}
