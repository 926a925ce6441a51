"""Who takes part in the world: accounts, what they do with their key, and how they are put into blocks.

A block is a crowd or a campaign. Each draws from a source of its own, so that a world with another campaign in it, or
with none, has the same honest traffic to the byte.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from services.simulator.behaviour import hours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.simulator.behaviour import Turn
    from services.simulator.library import Library
    from services.simulator.population import Client
    from services.simulator.traces import Traces
    from services.simulator.world.plans import Plan

DAY_MS: Final = 86_400_000
_PROVIDERS: Final = 24_000  # Networks of homes; the big providers' are drawn far more often.
_CLOUDS: Final = 90


class Utterance(NamedTuple):
    """What one turn says. ``system`` and ``settings`` replace the activity's where they are given."""

    prompt: str
    answer: str
    system: str | None = None
    refused: bool = False
    settings: dict[str, Any] | None = None


# ``topic`` is the account's own subject.
Writer = Callable[["Library", np.random.Generator, "Turn", int], Utterance]


@dataclass(slots=True)
class Activity:
    """One thing that an account does. Days are counted from the world's start; ``harvest`` is the truth of it."""

    plan: Plan
    write: Writer
    client: Client
    addresses: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    system: str = ""
    begins: float = 0.0
    ends: float = math.inf
    harvest: bool = False
    tools: bool = False
    end_users: int = 0  # Conversations are dealt to so many end users, as a reseller names them.
    rejected_from: float = math.inf
    reasoning: float = 0.0  # Share of the output tokens that are reasoning.


@dataclass(slots=True)
class Actor:
    """One account."""

    name: str  # Unique in the world; every draw of its traffic comes from it.
    key: str
    archetype: str
    topic: int
    activities: list[Activity]
    created_at_ms: int
    signup_address: str
    organization: str = ""
    verified: bool = False
    payment: str = ""
    campaign: str | None = None
    recipe: str = ""
    group: str | None = None
    licensed: bool = False

    def truth(self) -> dict[str, Any]:
        """Give this account's line of the truth file."""
        return {
            "account": self.key,
            "campaign": self.campaign,
            "recipe": self.recipe or self.archetype,
            "group": self.group,
            "licensed": self.licensed,
        }

    def attributes(self) -> dict[str, Any]:
        """Give this account's line of the attributes file (``stillwatch accounts import``)."""
        return {
            "account": self.key,
            "created_at": self.created_at_ms / 1000,
            "organization": self.organization or None,
            "verified": self.verified,
            "payment": self.payment or None,
            "signup_ip": self.signup_address,
        }


@dataclass
class Block:
    """A crowd or a campaign in the making: its own randomness, and the world's traces and calendar."""

    name: str
    seed: int
    start_ms: int
    lead_days: int
    days: int  # All of them, lead days too.
    traces: Traces
    actors: list[Actor] = field(default_factory=list)
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.seed, zlib.crc32(self.name.encode())])

    def add(self, archetype: str, activities: list[Activity], age_days: tuple[float, float], **more: Any) -> Actor:
        """Add one account, created so many days before its first activity begins."""
        begins = min(activity.begins for activity in activities)
        age = float(self.rng.uniform(*age_days))
        name = f"{self.name}/{len(self.actors)}"
        actor = Actor(
            name=name,
            key="sk-sim-" + self.rng.bytes(12).hex(),
            archetype=archetype,
            topic=1 + int(self.rng.integers(1 << 30)),
            activities=activities,
            created_at_ms=self.start_ms + round((begins - age) * DAY_MS),
            signup_address=more.pop("signup_address", None) or activities[0].addresses[0],
            payment=more.pop("payment", None) or "card-" + self.rng.bytes(8).hex(),
            **more,
        )
        self.actors.append(actor)
        return actor

    def home(self) -> str:
        """Give an address of a household: a few big providers, many small ones."""
        network = int(_PROVIDERS * float(self.rng.random()) ** 2)
        return f"10.{network // 256}.{network % 256}.{int(self.rng.integers(1, 255))}"

    def cloud(self) -> str:
        """Give an address of a public cloud, shared by many firms' servers."""
        network = int(_CLOUDS * float(self.rng.random()) ** 1.5)
        return f"198.18.{network}.{int(self.rng.integers(1, 255))}"

    def office(self, number: int | None = None) -> str:
        """Give an address of a firm's own network; a number names the firm."""
        network = int(self.rng.integers(64, 4000)) if number is None else number
        return f"172.{16 + network // 256}.{network % 256}.{int(self.rng.integers(1, 255))}"

    def person_hours(self, peak: float | None = None, width: float | None = None) -> NDArray[np.float64]:
        """Give one person's hours: around a peak of his own."""
        center = float(self.rng.normal(15, 5.5)) % 24 if peak is None else peak + float(self.rng.normal(0, 1.5))
        return hours(center, float(self.rng.uniform(0.25, 1.1)) if width is None else width)

    def choose(self, *choices: Any) -> Any:
        """Choose one of several things."""
        return choices[int(self.rng.integers(len(choices)))]
