"""The examples for subscribers, run as their readers would: Python, and Node with kafkajs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from schemas.alert import encode_alert
from services.adapters.embedded import EmbeddedKafka
from tests.integration.database.samples import make_alert

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(280)]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of these tests' own, with three alerts: other tests put theirs on the run's topic of this name."""
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    with EmbeddedKafka(tmp_path_factory.mktemp("examples")) as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        admin.create_topics([NewTopic("alerts", 1, 1)])["alerts"].result(30)
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        for number in (1, 2, 3):
            producer.produce("alerts", encode_alert(make_alert(number)), make_alert(number).alert_id)
        assert producer.flush(30) == 0
        yield kafka.bootstrap_servers


def told(text: str) -> list[str]:
    return [line.split(" ")[1] for line in text.strip().splitlines()]


WANTED = [f"{make_alert(number).alert_id}.1" for number in (1, 2, 3)]


def test_the_python_example_reads_alerts(servers: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "subscribe.py", servers, "3"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert told(done.stdout) == WANTED


def test_the_node_example_reads_alerts(servers: str, tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    assert npm is not None, "Node with npm is needed to run examples/subscribe.mjs"
    assert node is not None, "Node is needed to run examples/subscribe.mjs"
    for name in ("subscribe.mjs", "package.json", "package-lock.json"):
        shutil.copy(EXAMPLES / name, tmp_path)
    subprocess.run([npm, "ci", "--silent", "--no-audit", "--no-fund"], cwd=tmp_path, check=True, timeout=120)
    done = subprocess.run(
        [node, "subscribe.mjs", servers, "3"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert told(done.stdout) == WANTED
