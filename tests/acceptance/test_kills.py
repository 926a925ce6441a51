"""`kill -9` of what matters most, once each, while traffic flows: the alerts are those of an undisturbed run."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import simulate
from tests.acceptance.product import Product, tell, wait_until
from tests.acceptance.topics import read_topic, revisions

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(1800)]
VICTIMS = ("accounts", "pools", "alert-sink", "kafka", "postgres")
PROGRAMS = {"accounts": "stream_jobs.accounts", "pools": "stream_jobs.pools", "alert-sink": "services.alert_sink"}
PROGRAMS |= {"kafka": "kafka.Kafka", "postgres": "postgres"}
# A day in four minutes: about 37,000 requests. Five recoveries fit into it on a slow machine too.
SPEED = "350x"
BETWEEN_SECONDS = 7.0


@pytest.fixture
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product of this test's own."""
    running = Product(tmp_path_factory.mktemp("killed"), partitions=4)
    running.environment["STILLWATCH_SESSION_TIMEOUT_MS"] = "6000"
    try:
        yield running
    finally:
        running.kill()


def _is_ready(product: Product, name: str) -> bool:
    return bool(product.status()[name]["state"] == "ready")


def _kill_each(product: Product, replay: subprocess.Popen[bytes]) -> dict[str, float]:
    """Kill each victim while it is ready and requests come in; gives the moment of each kill."""
    killed = {}
    for name in VICTIMS:
        time.sleep(BETWEEN_SECONDS)
        wait_until(partial(_is_ready, product, name), 120, f"{name} is ready to be killed")
        pid = product.status()[name]["pid"]
        assert PROGRAMS[name].encode() in Path(f"/proc/{pid}/cmdline").read_bytes(), name
        assert replay.poll() is None, f"the traffic had ended before {name} was killed"
        os.kill(pid, signal.SIGKILL)
        killed[name] = time.monotonic()
    return killed


def _recovered(product: Product) -> bool:
    parts = product.status()
    return all(part["state"] in {"ready", "done"} for part in parts.values()) and all(
        parts[name]["restarts"] >= 1 for name in VICTIMS
    )


def test_after_every_kill_the_alerts_are_those_of_an_undisturbed_run(killed: Product) -> None:
    scenario = simulate(killed, days=1, records="events")
    alerts, every = killed.folder / "backtest.jsonl", killed.folder / "backtest-revisions.jsonl"
    told = ("--accounts", scenario.accounts, "--alerts", alerts, "--revisions", every)
    killed.run("backtest", scenario.records, "--format", "events", *told)
    killed.start()
    killed.json("accounts", "import", scenario.accounts)
    killed.wait_for_accounts("account-attributes")

    options = ("--format", "events", "--time", "original", "--speed", SPEED, "--drain", "--json")
    replay = killed.begin("replay", scenario.records, *options)
    try:
        at = _kill_each(killed, replay)
        last = max(at.values())
        wait_until(partial(_recovered, killed), 120, "every part is ready again")
        tell(f"killed {', '.join(at)}; all ready again {time.monotonic() - last:.1f} s after the last kill")
        replayed = killed.finish(replay, "replay", 420)
    finally:
        replay.kill()
        replay.wait()
    assert replayed["sent"] == scenario.sent["requests"]
    seconds = killed.wait_for_alerts(replayed["last_time_unix_ms"], 180)
    wait_until(partial(_recovered, killed), 60, "every part is ready at the end")
    killed.run("alerts", "export", "-o", killed.folder / "export.jsonl")

    exported, lines = (killed.folder / "export.jsonl").read_bytes(), every.read_bytes().splitlines()
    assert len(exported.splitlines()) >= 2  # The two campaigns of many accounts.
    assert exported == alerts.read_bytes()
    assert revisions(killed.kafka) == set(lines)
    copies = sum(1 for _ in read_topic(killed.kafka, "alerts")) - len(lines)
    assert killed.rows("SELECT count(*) FROM alert_revisions") == [(len(lines),)]
    assert list(read_topic(killed.kafka, "dead-letters")) == []
    tell(f"{replayed['sent']:,} requests in {replayed['seconds']:.0f} s, done {seconds:.1f} s later")
    tell(f"{len(lines)} revisions as undisturbed; {copies} came twice and are stored once")
    killed.stop()
