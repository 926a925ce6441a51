"""How a campaign behaves on the outside: drawn anew for each one, from plain to careful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.simulator.behaviour import hours
from services.simulator.world.actors import Activity
from services.simulator.world.clients import PEOPLE, PROGRAMMERS, draw_client, own_settings
from services.simulator.world.plans import Queue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.simulator.population import Client
    from services.simulator.traces import Lengths
    from services.simulator.world.actors import Block, Writer
    from services.simulator.world.plans import Plan


@dataclass(slots=True)
class Style:
    """One operator's choices. ``copied`` settings are a popular client's own defaults; others are the operator's."""

    client: Client
    settings: dict[str, Any]
    copied: bool
    addresses: str  # "homes", "clouds" or "rack": scattered households, scattered servers, a few racks.
    racks: tuple[str, ...]
    hours: str  # "always", "common" or "own": round the clock, one daily shape, each worker its own.
    common: NDArray[Any]
    noise: float
    cards: int  # Accounts for one payment attribute.
    begins: float

    def address(self, block: Block) -> str:
        """Give one worker's address."""
        if self.addresses == "homes":
            return block.home()
        if self.addresses == "clouds":
            return block.cloud()
        return f"{block.choose(*self.racks)}.{int(block.rng.integers(1, 255))}"

    def hour_weights(self, block: Block) -> NDArray[Any] | None:
        """Give one worker's hours; None is round the clock."""
        if self.hours == "always":
            return None
        return self.common if self.hours == "common" else block.person_hours()

    def payment(self, block: Block) -> str:
        """Give one worker's payment attribute."""
        place = len(block.actors) // self.cards
        return f"card-{block.name}-{place}" if self.cards > 1 else ""


def draw_style(block: Block, *, copied: bool | None = None, addresses: str | None = None) -> Style:
    """Draw a campaign's choices; a recipe may fix what it is about."""
    rng = block.rng
    copies = bool(rng.random() < 0.6) if copied is None else copied  # noqa: PLR2004 - most leave a client as it comes
    client = draw_client(rng, PROGRAMMERS if rng.random() < 0.7 else PEOPLE)  # noqa: PLR2004 - some drive an app
    custom = {
        "temperature": float(rng.choice([0.6, 0.7, 0.8, 0.9, 1.0])),
        "max_tokens": int(rng.choice([1500, 2048, 3000, 4096, 6000])),
    }
    return Style(
        client=client,
        settings={} if copies else own_settings(rng) | custom,
        copied=copies,
        addresses=addresses or str(rng.choice(["homes", "clouds", "rack"], p=[0.55, 0.3, 0.15])),
        racks=tuple(f"198.19.{int(rng.integers(256))}" for _ in range(1 + int(rng.integers(4)))),
        hours=str(rng.choice(["always", "common", "own"], p=[0.5, 0.3, 0.2])),
        common=hours(float(rng.uniform(0, 24)), float(rng.uniform(0.6, 1.6))),
        noise=float(rng.choice([0.3, 0.7, 1.0, 1.8])),
        cards=int(rng.choice([1, 1, 1, 3, 6])),
        begins=block.lead_days + float(rng.uniform(0.0, 0.5)),
    )


def worker(
    block: Block, style: Style, rate: float, writer: Writer, lengths: Lengths, plan: Plan | None = None
) -> Activity:
    """Make one worker's harvest: its share of the queue, unless another plan is given."""
    plan = plan or Queue(rate, lengths, style.hour_weights(block), noise=style.noise)
    return Activity(
        plan,
        writer,
        style.client,
        (style.address(block),),
        dict(style.settings),
        begins=style.begins,
        harvest=True,
        reasoning=0.6 if "reasoner" in style.client.model else 0.0,
    )


def long_answers(block: Block) -> Lengths:
    """Make the lengths of what harvesters like: full answers to prompts of all kinds."""
    rng = block.rng
    if rng.random() < 0.5:  # noqa: PLR2004 - some take whatever comes: the lengths of ordinary conversation
        return block.traces.lengths("conversation", rng, own=0.0, shift=0.0)
    return block.traces.around(
        float(rng.normal(5.0, 0.4)), float(rng.normal(6.3, 0.3)), float(rng.uniform(0.3, 0.7)), rng
    )


def jitter(block: Block, rate: float) -> float:
    """Give a campaign's rate: about this, never the same twice."""
    return rate * float(block.rng.lognormal(0, 0.2))
