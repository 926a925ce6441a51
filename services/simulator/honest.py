"""Honest crowds: most of the traffic, and the crowds that look like a campaign and are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.simulator.behaviour import Batch, Person, Service, hours
from services.simulator.population import CLIENTS, Population, SimulatedAccount
from services.simulator.prompts import AGENT_SYSTEM, LAUNCH_SYSTEM, TUTOR_SYSTEM

if TYPE_CHECKING:
    import numpy as np

# Shares of developers with settings of their own, and of companies that are verified.
_OWN_TEMPERATURE = 0.4
_OWN_SYSTEM = 0.5
_VERIFIED = 0.7


def add_people(population: Population, count: int) -> None:
    """Add chat users at home: popular clients, their own hours, conversations."""
    rng = population.rng

    def make(place: int) -> SimulatedAccount:
        del place
        client = CLIENTS[str(rng.choice(["webchat", "mobile"], p=[0.65, 0.35]))]
        return _account(population, "person", _person(rng, volume=1.2), client.agent, population.home_address())

    population.add(count, make)


def add_developers(population: Population, count: int) -> None:
    """Add programmers with a key: working hours, popular libraries with their defaults or settings of their own."""
    rng = population.rng

    def make(place: int) -> SimulatedAccount:
        client = str(rng.choice(["python", "python-mini", "node", "curl", "httpx"], p=[0.35, 0.25, 0.2, 0.1, 0.1]))
        account = _account(
            population, "developer", _person(rng, volume=1.8, peak=14), CLIENTS[client].agent, population.home_address()
        )
        account.client = CLIENTS[client]
        if rng.random() < _OWN_TEMPERATURE:
            account.settings = {"temperature": float(rng.choice([0.1, 0.3, 0.5, 0.6]))}
        if rng.random() < _OWN_SYSTEM:
            account.system = f"You are the assistant of project {place}. {_sentence(rng)}"
        return account

    population.add(count, make)


def add_services(population: Population, count: int) -> None:
    """Add companies' back ends: one template and one key each, many requests, their users' hours."""
    rng = population.rng

    def make(place: int) -> SimulatedAccount:
        behaviour = Service(
            float(rng.lognormal(4.6, 0.8)),
            hours(float(rng.uniform(8, 20)), float(rng.uniform(0.6, 2.0))),
            float(rng.normal(5.5, 0.7)),
            float(rng.normal(4.2, 0.9)),
        )
        account = _account(population, "service", behaviour, "", population.office_address(2000 + place))
        account.client = CLIENTS[str(rng.choice(["python", "node", "httpx"]))]
        account.organization, account.verified = f"org-service-{place}", bool(rng.random() < _VERIFIED)
        account.settings = {
            "temperature": float(rng.choice([0.0, 0.2, 0.7])),
            "max_tokens": int(rng.choice([256, 512, 800])),
        }
        return account

    population.add(count, make)


def add_sharded_batch(population: Population, keys: int) -> None:
    """Add one company that spreads its own nightly job over many keys: one customer, and no campaign."""

    def make(place: int) -> SimulatedAccount:
        del place
        account = _account(population, "sharded-batch", Batch(60, 2.0, 4.6, 1.6), "", population.office_address(1))
        account.client, account.organization, account.verified = CLIENTS["python-mini"], "org-sharded-batch", True
        account.group = "sharded-batch"
        account.settings = {"temperature": 0.0, "max_tokens": 16}
        return account

    population.add(keys, make)


def add_benchmark_teams(population: Population, teams: int) -> None:
    """Add teams that run the same public benchmark with the same harness, each on its own day."""
    rng = population.rng

    def make(place: int) -> SimulatedAccount:
        behaviour = Batch(
            int(rng.integers(25, 160)),
            float(rng.uniform(0, 22)),
            4.8,
            float(rng.normal(4.9, 0.25)),
            every=4,
            offset=place,
        )
        account = _account(population, "benchmark", behaviour, "", population.office_address(100 + place))
        account.client, account.group = CLIENTS["harness"], "benchmark"
        return account

    population.add(teams, make)


def add_class(population: Population, students: int) -> None:
    """Add a course: new accounts on one network with one system prompt, who converse at the lesson's hours."""
    rng = population.rng

    def make(place: int) -> SimulatedAccount:
        del place
        account = _account(
            population,
            "class",
            _person(rng, volume=1.3, peak=11, width=0.25),
            "",
            population.office_address(5),
            (0.5, 9),
        )
        account.client, account.system, account.group = CLIENTS["python"], TUTOR_SYSTEM, "class"
        return account

    population.add(students, make)


def add_launch(population: Population, readers: int) -> None:
    """Add a tool's launch: new accounts from everywhere, on one system prompt, who come, talk and mostly go."""
    rng = population.rng

    def make(place: int) -> SimulatedAccount:
        del place
        account = _account(population, "launch", _person(rng, volume=0.9), "", population.home_address(), (0.1, 4))
        account.client, account.system, account.group = CLIENTS["node"], LAUNCH_SYSTEM, "launch"
        return account

    population.add(readers, make)


def add_agents(population: Population, count: int) -> None:
    """Add users of a popular coding agent: one public system prompt, tools, long sessions."""
    rng = population.rng

    def make(place: int) -> SimulatedAccount:
        del place
        behaviour = Person(
            float(rng.lognormal(0.6, 0.7)),
            hours(float(rng.uniform(9, 22)), float(rng.uniform(0.3, 0.9))),
            float(rng.uniform(0.75, 0.9)),
            float(rng.normal(6.0, 0.4)),
            float(rng.normal(5.2, 0.4)),
        )
        account = _account(population, "agent", behaviour, "", population.home_address())
        account.client, account.system, account.tools, account.group = CLIENTS["agent"], AGENT_SYSTEM, True, "agent"
        return account

    population.add(count, make)


def add_office(population: Population, staff: int) -> None:
    """Add a firm behind one address: colleagues with different work, no organisation on record."""
    rng = population.rng

    def make(place: int) -> SimulatedAccount:
        del place
        account = _account(population, "office", _person(rng, volume=1.4, peak=13, width=0.4), "", "172.31.9.1")
        account.client, account.group = CLIENTS[str(rng.choice(["webchat", "python", "node"]))], "office"
        return account

    population.add(staff, make)


def _person(rng: np.random.Generator, volume: float, peak: float | None = None, width: float | None = None) -> Person:
    center = float(rng.uniform(0, 24)) if peak is None else peak + float(rng.normal(0, 2))
    return Person(
        conversations=float(rng.lognormal(volume, 0.9)),
        hour_weights=hours(center, width or float(rng.uniform(0.25, 1.0))),
        follow_up=float(rng.uniform(0.3, 0.8)),
        log_input=float(rng.normal(4.3, 0.6)),
        log_output=float(rng.normal(5.3, 0.6)),
    )


def _account(
    population: Population,
    recipe: str,
    behaviour: Person | Service | Batch,
    agent: str,
    address: str,
    age_days: tuple[float, float] = (3, 500),
) -> SimulatedAccount:
    client = next((client for client in CLIENTS.values() if client.agent == agent), CLIENTS["python"])
    return SimulatedAccount(
        key=population.key(),
        recipe=recipe,
        behaviour=behaviour,
        client=client,
        address=address,
        created_at_ms=population.age(*age_days),
        payment=population.payment(),
    )


def _sentence(rng: np.random.Generator) -> str:
    words = ("short", "formal", "careful", "cheerful", "precise", "patient", "bold", "plain", "curious", "strict")
    return (
        f"Be {rng.choice(words)} and {rng.choice(words)}, and answer in {int(rng.integers(1, 9))} paragraphs at most."
    )
