"""What customers say and are called goes in at the gateway, and is found nowhere behind it; every record is counted."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from services.adapters.clock import SystemClock
from tests.acceptance.canaries import CANARIES, Words, crafted, look_everywhere, recorded
from tests.acceptance.product import KEY, SHARED, tell, wait_until
from tests.acceptance.topics import read_topic

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Live
    from tests.acceptance.product import Product

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(1800)]
LITELLM = SHARED / "gateways" / "litellm_proxy_callback.jsonl"
needs_payloads = pytest.mark.skipif(
    not LITELLM.is_file(), reason="the recorded payloads are not beside the project; set STILLWATCH_SHARED_DATA"
)


def _sent_by(product: Product, source: str) -> int:
    """Count the committed requests whose CloudEvents source is this gateway."""
    messages = read_topic(product.kafka, "requests")
    return sum((b"/gateway/" + source.encode()) in dict(message.headers() or []).values() for message in messages)


def _replay(product: Product, file: Path, name: str, *options: str) -> dict[str, Any]:
    """Send a file; what came in is on the topic or was rejected by a named reason, nothing else."""
    before = _sent_by(product, name)
    counts: dict[str, Any] = product.json("replay", file, "--format", name, *options)
    assert counts["read"] == counts["sent"] + sum(counts["rejected"].values())
    assert _sent_by(product, name) - before == counts["sent"]
    tell(f"{name}: {counts['read']:,} read, {counts['sent']:,} on the topic, rejected {counts['rejected'] or 'none'}")
    return counts


@pytest.mark.parametrize(
    ("place", "name"), [("mooncake/conversation_trace.jsonl", "mooncake"), ("azure/code_2023.csv", "azure")]
)
def test_every_line_of_a_public_trace_goes_in(product: Product, live: Live, place: str, name: str) -> None:
    path = SHARED / "benign" / place
    if not path.is_file():
        pytest.skip("the public traces are not beside the project; set STILLWATCH_SHARED_DATA")
    lines = len(path.read_text(encoding="utf-8").splitlines()) - (path.suffix == ".csv")
    counts = _replay(product, path, name)
    assert counts["read"] == lines > 8_000
    product.wait_for_accounts("requests")
    assert list(read_topic(product.kafka, "dead-letters")) == []


@pytest.fixture(scope="module")
def harvested(product: Product, live: Live, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Send canaries by every way in, and the recorded payloads; give the words that nothing may hold."""
    folder = tmp_path_factory.mktemp("canaries")
    pairs, accounts = folder / "pairs.jsonl", folder / "accounts.jsonl"
    pairs.write_text("\n".join(crafted(SystemClock().now_ms() / 1000)), encoding="utf-8")
    counts = _replay(product, pairs, "openai", "--time", "original")
    assert (counts["sent"], len(counts["rejected"])) == (50, 5)
    told = {
        "account": CANARIES["key"],
        "organization": CANARIES["organization"],
        "payment": CANARIES["payment"],
        "signup_ip": CANARIES["address"],
        "created_at": 1_700_000_000,
    }
    broken = {**told, "created_at": CANARIES["email"]}
    accounts.write_text(f"{json.dumps(told)}\n{json.dumps(broken)}\n", encoding="utf-8")
    assert product.json("accounts", "import", accounts)["sent"] == 1
    people = [json.loads(line)["account"] for line in live.scenario.truth.read_text(encoding="utf-8").splitlines()]
    return {*CANARIES.values(), KEY, people[0], people[-1], people[len(people) // 2]}


@needs_payloads
def test_every_recorded_payload_goes_in(product: Product, live: Live) -> None:
    counts = _replay(product, LITELLM, "litellm")
    assert counts["read"] == len(LITELLM.read_text(encoding="utf-8").splitlines()) == 3
    assert counts["sent"] >= 2


def test_no_canary_is_found_in_topics_tables_logs_or_outputs(product: Product, harvested: set[str]) -> None:
    words = set(harvested)
    if LITELLM.is_file():
        _replay(product, LITELLM, "litellm")
        said = recorded(LITELLM)
        assert {"litellm_proxy_master_key", "hello", "mocked answer", "end-user-7"} <= said
        words |= said
    product.wait_for_accounts("requests")
    wait_until(lambda: _is_idle(product), 120, "the jobs have nothing left to do")
    search = Words(words)
    assert search.find(b"x" + CANARIES["prompt"].upper().encode())  # It does find what is there.
    hits: Counter[tuple[str, bytes]] = Counter()
    looked: Counter[str] = Counter()
    for place, data in look_everywhere(product):
        looked[place.partition(" ")[0]] += len(data)
        hits.update((place, word) for word in search.find(data))
    tell(f"{len(words)} words sought in {dict(looked)} bytes: {sum(hits.values())} found")
    assert looked["topic"] > 10_000_000
    assert looked["table"] > 10_000
    assert looked["file"] > 1_000_000
    assert not hits, hits


def _is_idle(product: Product) -> bool:
    return not any(product.gauge("pools", "stillwatch_consumer_lag"))
