"""One running product for all acceptance tests, with two simulated days already sent through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from services.adapters.clock import SystemClock
from tests.acceptance.product import Product
from tests.acceptance.topics import revisions
from tests.acceptance.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Scenario:
    """A file of simulated traffic, and what is known beside it. `sent` is what `simulate` counted."""

    records: Path
    truth: Path
    accounts: Path
    sent: dict[str, Any]


def simulate(product: Product, *, days: int, records: str) -> Scenario:
    """Write whole days that ended an hour ago or before; the same for every run of a date, on every machine."""
    folder = product.folder
    last_midnight = (SystemClock().now_ms() - HOUR_MS) // DAY_MS * DAY_MS
    files = folder / "records.jsonl", folder / "truth.jsonl", folder / "accounts.jsonl"
    options = ("--scenario", "demo", "--days", str(days), "--format", records, "--to", files[0])
    beside = ("--truth", files[1], "--accounts", files[2], "--shared-data", folder / "missing")
    sent = product.json("simulate", *options, *beside, "--start-ms", str(last_midnight - days * DAY_MS))
    return Scenario(*files, sent)


@dataclass(frozen=True)
class Live:
    """What the live path made of the scenario, and the backtest of the same file."""

    scenario: Scenario
    replayed: dict[str, Any]
    tested: dict[str, Any]
    exported: bytes
    revisions: set[bytes]
    backtest_alerts: bytes
    backtest_revisions: bytes
    seconds_after_replay: float


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Kafka, Postgres and every job, started once; at the end Ctrl-C must leave no process."""
    running = Product(tmp_path_factory.mktemp("product"), partitions=8)
    try:
        running.start()
        yield running
        running.stop()
    finally:
        running.kill()


@pytest.fixture(scope="session")
def watching(product: Product) -> Iterator[Watching | None]:
    """Prometheus beside the product, asked for before `live` so that it sees what is sent; None where there is none."""
    try:
        started = Watching(product)
    except pytest.skip.Exception:
        yield None
        return
    yield started
    started.stop()


@pytest.fixture(scope="session")
def live(product: Product) -> Live:
    """Two days of `demo`, from pairs with text: through the gateway to Postgres, and through `backtest`.

    Before anything else is sent, and read at once: later traffic may raise alerts of its own.
    """
    scenario = simulate(product, days=2, records="openai")
    imported = product.json("accounts", "import", scenario.accounts)
    assert imported["sent"] == scenario.sent["accounts"]
    product.wait_for_accounts("account-attributes")
    alerts, every = product.folder / "backtest.jsonl", product.folder / "backtest-revisions.jsonl"
    beside = ("--accounts", scenario.accounts, "--truth", scenario.truth, "--id-map", product.folder / "ids.json")
    out = ("--alerts", alerts, "--revisions", every, "--json")
    backtest = product.begin("backtest", scenario.records, "--format", "openai", *out, *beside)
    try:
        options = ("--format", "openai", "--time", "original", "--speed", "max", "--drain")
        replayed = product.json("replay", scenario.records, *options)
        seconds = product.wait_for_alerts(replayed["last_time_unix_ms"], 180)
        product.run("alerts", "export", "-o", product.folder / "export.jsonl")
        tested = product.finish(backtest, "backtest", 200)
    finally:
        backtest.kill()
        backtest.wait()
    return Live(
        scenario=scenario,
        replayed=replayed,
        tested=tested,
        exported=(product.folder / "export.jsonl").read_bytes(),
        revisions=revisions(product.kafka),
        backtest_alerts=alerts.read_bytes(),
        backtest_revisions=every.read_bytes(),
        seconds_after_replay=seconds,
    )
