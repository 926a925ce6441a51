"""Every question of every dashboard, put to a real Prometheus that has scraped the running product: make test-observed.

Not in the default suite: it replays two days of traffic once more, and that is what the suite's longest fixture does.
"""

from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from schemas.topics import RAW_OPENAI
from services.telemetry.metrics import METRICS
from tests.acceptance.product import tell, wait_until
from tests.deploy.dashboards import QUERIES, without_intervals

if TYPE_CHECKING:
    from tests.acceptance.conftest import Live
    from tests.acceptance.product import Product
    from tests.acceptance.watching import Watching

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(1800)]
WATCHED_SECONDS = 60.0
FALLBACK = " or vector(0)"
# Nobody has judged an alert where these tests run first; nothing else may be silent.
OF_VERDICTS = {"stillwatch_label_precision", "stillwatch_labels_total"}


@pytest.fixture(scope="module")
def watched(product: Product, watching: Watching | None, request: pytest.FixtureRequest) -> Watching:
    """Give Prometheus after a minute at least, in which vendors' records came by and people looked at the console."""
    if watching is None:
        pytest.skip("no Prometheus to be had here: see tests/deploy/tools.py")
    live: Live = request.getfixturevalue("live")  # After Prometheus, which fixtures by name would not promise.
    producer = Producer({"bootstrap.servers": product.kafka, "enable.idempotence": True})
    lines = live.scenario.records.read_bytes().splitlines()[:60]
    port = product.status()["api"]["ports"]["http"]
    for turn in range(3):
        for line in lines[turn * 20 : turn * 20 + 20]:
            producer.produce(RAW_OPENAI.name, line)
        assert producer.flush(30) == 0
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=10) as answer:
                assert answer.status == 200
        time.sleep(6)
    wait_until(lambda: time.time() - watching.began > WATCHED_SECONDS, 120, "Prometheus has watched")  # noqa: TID251 - Prometheus has the wall clock
    return watching


def test_every_process_answers_and_every_rule_can_be_asked(watched: Watching) -> None:
    targets = watched.get("targets")["activeTargets"]
    assert {target["health"] for target in targets} == {"up"}
    assert len(targets) == len(watched.parts) >= 10
    rules = [rule for group in watched.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 30
    assert {rule["health"] for rule in rules} == {"ok"}
    assert "StillwatchProcessDown" not in {rule["name"] for rule in rules if rule["state"] == "firing"}


def test_every_question_of_the_dashboards_has_an_answer(product: Product, watched: Watching) -> None:
    known = watched.get("metadata")
    exported = {metric.name.removesuffix("_total") for metric in METRICS}
    assert exported <= {name.removesuffix("_total") for name in known}, "each process names every metric"
    judged = product.rows("SELECT count(*) FROM labels")[0][0]
    silent, zero = [], 0
    for query in QUERIES:
        expression = without_intervals(query.expression, "30s")
        found = watched.points(expression)
        zero += expression.endswith(FALLBACK) and watched.points(expression.removesuffix(FALLBACK)) == 0
        if not found and (judged or not query.metrics & OF_VERDICTS):
            silent.append(f"{query.dashboard}: {query.panel}: {query.expression}")
    tell(f"{len(QUERIES)} queries; {zero} of them tell a zero for what never happened; {judged} verdicts")
    assert silent == []
