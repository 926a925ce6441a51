"""The world: reproducible, in order, honest about who is who, and the same honest traffic whatever the campaigns."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from services.errors import ConfigurationError
from services.gateway.formats import litellm
from services.gateway.parsed import RejectedRecord
from services.simulator.exchange import litellm_payload
from services.simulator.library import Library
from services.simulator.world.actors import DAY_MS
from services.simulator.world.build import World, WorldOptions, choose_recipes, deal
from services.simulator.world.harvests import BY_NAME, RECIPES
from services.simulator.world.stream import exchanges

if TYPE_CHECKING:
    from services.simulator.exchange import Exchange

SHARED = Path("../shared/data")
LIBRARY = Library()


def world(seed: int = 1, **more: Any) -> World:
    options: dict[str, Any] = {"honest": 24, "days": 2, "lead_days": 1, "crowds": ("launch", "workshop")} | more
    made = World(WorldOptions(seed=seed, **options))
    if not made.options.shared:
        made.library = LIBRARY  # Its chain of words takes a second to make, and depends on no seed.
    return made


def payloads(made: World, *recipes: str) -> list[bytes]:
    blocks = [made.honest, *(made.campaign(BY_NAME[name]) for name in recipes)]
    return [msgspec.json.encode(litellm_payload(exchange)) for exchange in exchanges(blocks, made.library)]


def of_recipe(name: str, accounts: int | None = None, **more: Any) -> list[Exchange]:
    made = world(**more)
    return list(exchanges([made.campaign(BY_NAME[name], accounts)], made.library))


def test_same_seed_same_payloads_and_another_seed_others() -> None:
    first = payloads(world(5), "shared-template")
    assert first == payloads(world(5), "shared-template")
    assert first != payloads(world(6), "shared-template")


def test_a_campaign_does_not_change_what_honest_accounts_send() -> None:
    alone = payloads(world())
    assert alone
    assert [line for line in payloads(world(), "sharded") if line in set(alone)] == alone


def test_exchanges_come_in_order_of_time_within_the_days() -> None:
    made = world()
    times = [exchange.time_ms for exchange in exchanges([made.honest, made.campaign(BY_NAME["diluted"])], made.library)]
    assert all(before <= after for before, after in pairwise(times))
    assert made.options.start_ms <= times[0]
    assert times[-1] < made.options.start_ms + 2 * DAY_MS


@pytest.mark.parametrize("recipe", [recipe.name for recipe in RECIPES])
def test_every_recipe_harvests_after_the_lead_days_and_reads_as_litellm(recipe: str) -> None:
    made = of_recipe(recipe)
    harvest = [exchange for exchange in made if exchange.harvest]
    assert harvest
    if recipe != "slow-warm-up":  # Its point is to come early.
        assert min(exchange.time_ms for exchange in harvest) >= WorldOptions(seed=1).start_ms + DAY_MS
    for exchange in made[:20]:
        try:
            parsed = litellm.parse(litellm_payload(exchange))
        except RejectedRecord as rejected:
            pytest.fail(f"{recipe}: {rejected}")
        assert parsed.account_raw == exchange.key
        assert bool(parsed.error) == exchange.rejected


def test_truth_is_in_no_payload() -> None:
    made = world()
    block = made.campaign(BY_NAME["shared-template"])
    for exchange in exchanges([block], made.library):
        payload = litellm_payload(exchange) | {
            "messages": [],
            "response": {},
        }  # Words are free; a text may say anything.
        line = msgspec.json.encode(payload)
        assert not [told for told in (b"harvest", b"shared-template", b"campaign", b"recipe", b"licen") if told in line]


def test_attackers_stay_below_their_share_of_accounts_and_every_recipe_has_its_run() -> None:
    runs = deal(RECIPES, honest=2500, prevalence=0.05, seed=3)
    assert Counter(recipe.name for run in runs for recipe, _ in run) == Counter(recipe.name for recipe in RECIPES)
    for run in runs:
        attackers = sum(size for _, size in run)
        assert attackers / (attackers + 2500) <= 0.05
    assert runs != deal(RECIPES, honest=2500, prevalence=0.05, seed=4)


def test_a_rare_attacker_is_made_small_and_never_smaller_than_its_recipe() -> None:
    runs = deal(RECIPES, honest=3000, prevalence=0.001, seed=3)
    assert all(recipe.least <= size <= max(recipe.least, 3) for run in runs for recipe, size in run)


def test_repeats_are_of_one_text_and_mirrored_accounts_coincide() -> None:
    repeats = Counter(exchange.messages[-1]["content"] for exchange in of_recipe("best-of-n", 1))
    assert max(repeats.values()) >= 6
    by_prompt: dict[str, set[str]] = {}
    for exchange in of_recipe("coincident"):
        by_prompt.setdefault(exchange.messages[-1]["content"], set()).add(exchange.key)
    assert sum(len(keys) >= 4 for keys in by_prompt.values()) > len(by_prompt) / 2


def test_diluted_accounts_keep_most_of_their_traffic_for_themselves() -> None:
    made = [exchange for exchange in of_recipe("diluted", days=4) if exchange.time_ms]
    assert 0.02 < sum(exchange.harvest for exchange in made) / len(made) < 0.5


def test_a_refused_key_tells_nothing_but_itself() -> None:
    refused = [exchange for exchange in of_recipe("take-over", days=4) if exchange.rejected]
    assert refused
    payload = litellm_payload(refused[0])
    assert payload["requester_ip_address"] is None
    assert payload["metadata"]["user_api_key_hash"] == refused[0].key


def test_unknown_names_are_told_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose_recipes(["nothing"])
    assert "sharded" in caught.value.hint
    with pytest.raises(ConfigurationError) as caught:
        world(crowds=("nobody",))
    assert "launch" in caught.value.hint
    with pytest.raises(ConfigurationError):
        world(lead_days=2)


def test_families_share_no_recipe() -> None:
    tuning, held_out = choose_recipes([], "tuning"), choose_recipes([], "held-out")
    assert {recipe.name for recipe in tuning}.isdisjoint(recipe.name for recipe in held_out)
    assert len(tuning) + len(held_out) == len(RECIPES)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside the project")
def test_with_shared_data_real_texts_are_read() -> None:
    made = world(shared=str(SHARED))
    assert next(exchanges([made.honest], made.library)).messages
    assert {"benign/azure/conv_2023.csv", "benign/prompts/arena_hard_v0.1.jsonl"} <= {
        *made.library.sources,
        *made.traces.sources,
    }
