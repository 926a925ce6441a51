"""A key changes in the middle of a harvest: the campaign is still one incident, with the members it would have had."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.evaluation.backtest import Backtest, last_revisions
from services.gateway.formats import openai
from services.gateway.identity import Identity
from services.gateway.keys.links import Seal, SealedLinks
from services.gateway.sketching import EventMaker
from services.simulator.corpus import Corpus
from services.simulator.scenarios import make_population
from services.simulator.traffic import Traffic
from tests.unit.evaluation.conftest import CONFIG, PARTITIONS, START_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detection.detectors.reference import References
    from detection.outcomes import Alert
    from schemas.request_event import RequestEvent

pytestmark = pytest.mark.timeout(900)  # Seven simulated days; half a minute where nobody else works.
OLD, NEW = b"k" * 32, b"n" * 32


@pytest.fixture(scope="module")
def records() -> tuple[list[dict[str, Any]], set[str]]:
    """One day's records in order, and the raw accounts of its one campaign."""
    population = make_population("tiny", 3, START_MS)
    workers = {account.key for account in population.accounts if account.campaign}
    return list(Traffic(population, Corpus(Path("absent")), 3).days(1)), workers


def told(part: Sequence[dict[str, Any]], identity: Identity, place: int) -> Iterator[RequestEvent]:
    maker = EventMaker(identity)
    for number, record in enumerate(part, place):
        yield maker.to_event(openai.parse(record), str(number))


def incidents(events: Iterator[RequestEvent], references: References, ids: set[str]) -> list[set[str]]:
    """The campaign's members in each alert that names some of them."""
    run = Backtest(CONFIG, references, PARTITIONS)
    found: list[Alert] = last_revisions(run.run(events))
    named = [{member.account for member in alert.members} & ids for alert in found]
    return [members for members in named if members]


def test_a_campaign_is_neither_lost_nor_doubled(
    records: tuple[list[dict[str, Any]], set[str]], references: References
) -> None:
    everything, workers = records
    # Past the first alert, so that an incident is under way; and again before the harvest ends.
    rotated, retired = len(everything) // 2, len(everything) * 3 // 4
    before = Identity(OLD, key_version=1)
    during = Identity(NEW, key_version=2, previous=Identity(OLD, key_version=1), linked=True)
    after = Identity(NEW, key_version=2, linked=True)
    secret = during.link_secret()
    assert secret is not None
    mapping: list[bytes] = []
    during.attach(SealedLinks(Seal(secret, 2), lambda _, sealed: mapping.append(sealed)))
    parts = everything[:rotated], everything[rotated:retired], everything[retired:]

    def linked() -> Iterator[RequestEvent]:
        yield from told(parts[0], before, 0)
        yield from told(parts[1], during, rotated)
        links = SealedLinks(Seal(secret, 2))
        assert all(map(links.load, mapping))
        after.attach(links)
        yield from told(parts[2], after, retired)

    ids = {before.account(raw) for raw in workers}
    strangers = {Identity(NEW).account(raw) for raw in workers}
    undisturbed = incidents(told(everything, before, 0), references, ids)
    kept = incidents(linked(), references, ids | strangers)
    naive = chain(told(parts[0], before, 0), told([*parts[1], *parts[2]], Identity(NEW, key_version=2), rotated))
    broken = incidents(naive, references, ids | strangers)
    assert len(undisturbed) == 1
    assert len(kept) == 1, "doubled, or lost"
    assert kept[0] <= ids
    assert len(kept[0]) >= 0.9 * len(undisturbed[0])
    # What a change without links does, so that this test is known to see it.
    assert len(broken) != 1 or broken[0] & strangers or len(broken[0]) < len(kept[0])
