"""From an analyst's click to another order: a label by the API, the next head, its promotion, its first alert.

Every process runs as its command starts it, on a real broker and a real database. The seconds of each leg are printed;
no speed is asserted.
"""

from __future__ import annotations

import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest

from detection.ranking.priority import LEAST_POSITIVES
from schemas.alert import decode_alert
from schemas.label import Label
from schemas.model_version import ModelVersion
from schemas.topics import ALERTS, FINDINGS, LABELS, MODELS
from services.adapters.clock import SystemClock, utc_now
from services.adapters.postgres.engine import create_engine
from services.api.app import create_app
from services.api.context import ApiContext
from services.telemetry.metrics import Metrics
from tests.integration.database.people import client_of, session_of
from tests.integration.database.serving import serving
from tests.stream_jobs.conftest import eventually
from tests.stream_jobs.findings import findings_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from detection.outcomes import Alert
    from schemas.topics import Topic
    from tests.stream_jobs.conftest import Broker

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(580)]
JOBS = ("stream_jobs.incidents", "stream_jobs.learning", "services.alert_sink", "services.alert_sink.relay")
PARTITIONS = 2
FIRST_HOPS = 60


class Loop:
    """The product around one broker and one database, and the people in front of it."""

    def __init__(self, broker: Broker, url: str, incidents_port: int) -> None:
        self.broker = broker
        self.url = url
        self._port = incidents_port
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def alerts(self, client: httpx.Client) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get("/v1/alerts", params={"limit": 200}).raise_for_status().json()["items"]
        return found

    def judge(self, client: httpx.Client, alert_id: str, verdict: str) -> str:
        body = {"alert_id": alert_id, "verdict": verdict, "reason": "one wording, one rhythm"}
        return str(client.post("/v1/labels", json=body).raise_for_status().json()["label_id"])

    def shadow(self, client: httpx.Client) -> int:
        items = client.get("/v1/models").raise_for_status().json()["items"]
        return max((row["version"] for row in items if row["stage"] == "shadow"), default=0)

    def values(self, topic: Topic, kind: type[Any]) -> list[Any]:
        return [msgspec.json.decode(raw or b"", type=kind) for _, raw in self.broker.read(topic)]

    def records(self, topic: Topic) -> list[bytes]:
        return [raw or b"" for _, raw in self.broker.read(topic)]

    def new(self, before: set[tuple[str, int]]) -> list[Alert]:
        alerts = map(decode_alert, self.records(ALERTS))
        return [one for one in alerts if (one.alert_id, one.revision) not in before]

    def live_version(self) -> int:
        told = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=10).text
        lines = [line for line in told.splitlines() if line.startswith("stillwatch_model_live_version{")]
        return int(float(lines[0].rpartition(" ")[2])) if lines else 0

    def begin(self) -> None:
        self._since = time.monotonic()

    def leg(self, name: str, check: Callable[[], bool]) -> None:
        eventually(check, 120, name)
        now = time.monotonic()
        self.seconds[name] = now - self._since
        self._since = now


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def loop(broker: Broker, database_url: str) -> Iterator[Loop]:
    port = free_port()
    for job in JOBS:
        own = {"STILLWATCH_METRICS_PORT": str(port if job == JOBS[0] else 0)}
        broker.start("-m", job, STILLWATCH_DATABASE_URL=database_url, STILLWATCH_TENANT="acme", **own)
    engine = create_engine(database_url, process="test")
    context = ApiContext(engine=engine, metrics=Metrics(), clock=SystemClock(), tenant="acme", checks={}, secret=b"k")
    with serving(create_app(context, "0.0.0")) as url:
        yield Loop(broker, url, port)
    engine.dispose()


def test_a_label_reaches_the_next_alerts_order(loop: Loop, database_url: str) -> None:
    log = findings_log(2 * FIRST_HOPS, PARTITIONS)
    half = len(log) // 2
    loop.broker.send(FINDINGS, [(b"k", raw) for raw in log[:half]])
    engine = create_engine(database_url, process="test")
    now = utc_now()
    ana, pat = (
        session_of(engine, "acme", name, role, now=now) for name, role in (("ana", "analyst"), ("pat", "publisher"))
    )
    engine.dispose()
    with client_of(loop.url, ana) as analyst, client_of(loop.url, pat) as publisher:
        wanted = LEAST_POSITIVES + 5
        eventually(lambda: len(loop.alerts(analyst)) >= wanted, 120, "enough alerts in the database")
        raised = loop.alerts(analyst)
        for place, alert in enumerate(raised[: wanted - 1]):
            loop.judge(analyst, alert["alert_id"], "benign" if place % 6 == 5 else "true_positive")
        eventually(lambda: loop.shadow(publisher) == wanted - 1, 120, "the head of all labels but one")

        loop.begin()
        label_id = loop.judge(analyst, raised[wanted - 1]["alert_id"], "true_positive")
        loop.leg("click to answer", lambda: True)
        loop.leg("to the topic labels", lambda: loop.values(LABELS, Label)[-1].label_id == label_id)
        loop.leg("to the new head on models", lambda: loop.values(MODELS, ModelVersion)[-1].version == wanted)
        loop.leg("to the page", lambda: loop.shadow(publisher) == wanted)
        assert analyst.post("/v1/models/supervised/promote").status_code == 403
        promoted = publisher.post("/v1/models/supervised/promote", headers={"If-Match": f'"v{wanted}"'})
        assert promoted.status_code == 200
        loop.leg("promotion to answer", lambda: True)
        loop.leg("to the incidents job", lambda: loop.live_version() == wanted)

        before = {(one.alert_id, one.revision) for one in map(decode_alert, loop.records(ALERTS))}
        loop.broker.send(FINDINGS, [(b"k", raw) for raw in log[half:]])
        loop.leg("to an alert in its order", lambda: any(one.model for one in loop.new(before)))
        assert {one.model for one in loop.new(before)} == {f"supervised/{wanted}"}
        assert publisher.post("/v1/models/supervised/retire").status_code == 200
        loop.leg("retirement to the incidents job", lambda: loop.live_version() == 0)
    told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in loop.seconds.items())
    sys.stderr.write(f"\nlabels loop: {told}\n")
