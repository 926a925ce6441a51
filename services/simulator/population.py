"""Who sends requests: accounts with their keys, settings and addresses, and what the truth file says of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from services.simulator.behaviour import Behaviour

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Client:
    """A program that sends requests: its user agent and the settings that it sends unless told otherwise."""

    agent: str
    model: str
    settings: dict[str, Any]


# What popular clients send. Honest strangers share these; so may a campaign.
CLIENTS: Final[dict[str, Client]] = {
    "webchat": Client("Mozilla/5.0 (X11; Linux x86_64)", "teacher-large", {"temperature": 0.7, "stream": True}),
    "mobile": Client("ChatMobile/4.2 (iOS)", "teacher-large", {"temperature": 0.8, "max_tokens": 1024, "stream": True}),
    "python": Client("OpenAI/Python 1.99.2", "teacher-large", {}),
    "python-mini": Client("OpenAI/Python 1.99.2", "teacher-mini", {}),
    "node": Client("OpenAI/JS 5.8.0", "teacher-mini", {"temperature": 0.2}),
    "agent": Client("codeagent/0.9.1", "teacher-code", {"temperature": 0.0, "max_tokens": 8192, "stream": True}),
    "harness": Client("lm-eval/0.5", "teacher-large", {"temperature": 0.0, "max_tokens": 512}),
    "curl": Client("curl/8.5.0", "teacher-mini", {"max_tokens": 256}),
    "httpx": Client("python-httpx/0.28.1", "teacher-large", {"temperature": 1.0, "max_tokens": 2048}),
    "aiohttp": Client(
        "Python/3.11 aiohttp/3.14", "teacher-large", {"temperature": 0.9, "max_tokens": 1536, "top_p": 0.95}
    ),
}


@dataclass(slots=True)
class SimulatedAccount:
    """One account. ``campaign`` is None for honest ones; ``group`` names an honest crowd that could look like one."""

    key: str
    recipe: str
    behaviour: Behaviour
    client: Client
    address: str
    created_at_ms: int
    organization: str = ""
    verified: bool = False
    payment: str = ""
    campaign: str | None = None
    group: str | None = None
    system: str = ""
    tools: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def truth(self) -> dict[str, Any]:
        """Give this account's line of the truth file."""
        return {"account": self.key, "campaign": self.campaign, "recipe": self.recipe, "group": self.group}

    def attributes(self) -> dict[str, Any]:
        """Give this account's line of the attributes file (``stillwatch accounts import``)."""
        return {
            "account": self.key,
            "created_at": self.created_at_ms / 1000,
            "organization": self.organization or None,
            "verified": self.verified,
            "payment": self.payment or None,
            "signup_ip": self.address,
        }


@dataclass
class Population:
    """All accounts of a scenario, made in a fixed order from one seed."""

    rng: np.random.Generator
    start_ms: int
    accounts: list[SimulatedAccount] = field(default_factory=list)

    def add(self, count: int, make: Callable[[int], SimulatedAccount]) -> None:
        """Add ``count`` accounts; ``make`` is given their place in the group."""
        self.accounts.extend(make(place) for place in range(count))

    def key(self) -> str:
        """Make an API key."""
        return "sk-sim-" + self.rng.bytes(12).hex()

    def home_address(self) -> str:
        """Make an address of a provider with many customers: neighbours share a /24 now and then."""
        network = int(self.rng.integers(0, 4000))
        return f"10.{network // 256}.{network % 256}.{int(self.rng.integers(1, 255))}"

    def office_address(self, network: int) -> str:
        """Make an address behind one company's network."""
        return f"172.{16 + network // 256}.{network % 256}.{int(self.rng.integers(1, 255))}"

    def age(self, low_days: float, high_days: float) -> int:
        """Give a creation time between so many days before the start."""
        return self.start_ms - int(self.rng.uniform(low_days, high_days) * DAY_MS)

    def payment(self) -> str:
        """Make a payment attribute of one's own."""
        return "card-" + self.rng.bytes(8).hex()
