"""Publisher processes as they run: killed, outliving their server, sent signals; nothing is lost or left behind."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.request_event import RequestEvent
from services.adapters.clock import SystemClock
from services.gateway.apart.courier import Courier
from services.gateway.configuration import GatewayConfiguration, Secret
from services.gateway.publishing.counts import DROPPED, FAILURES, WAITING
from services.gateway.publishing.spool import open_spool
from services.gateway.publishing.starting import start_publisher
from tests.contracts.test_gateway_privacy import CANARIES, openai_record
from tests.gateways.conftest import free_port
from tests.unit.gateway.doubles import exchange
from tests.unit.gateway.test_canary import assert_hidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.adapters.embedded import EmbeddedKafka

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef0123456789abcdef"
NOBODY = "127.0.0.1:1"  # No broker is there: every event goes to the spool.
# A server that hands over so many requests, says so, and then does what it is told to do.
SERVER = """
import os, signal, sys, time
from services.adapters.clock import SystemClock
from services.gateway.configuration import GatewayConfiguration
from services.gateway.publishing.starting import start_publisher
from tests.gateways.conftest import free_port
from tests.unit.gateway.doubles import exchange

publisher, _ = start_publisher(GatewayConfiguration.from_environment(os.environ), SystemClock(), "/gateway/test")
for number in range(int(sys.argv[1])):
    publisher.offer(exchange(number))
while publisher._ledger.unsent or publisher._child is None or not publisher._child.idle:
    time.sleep(0.01)
print(publisher._child.pid, flush=True)
{then}
"""


def wait_until(done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def configuration(folder: Path, servers: str = NOBODY) -> GatewayConfiguration:
    return GatewayConfiguration(
        hmac_key=Secret(KEY),
        base_dir=folder,
        kafka_bootstrap_servers=servers,
        gateway_stall_seconds=0.5 if servers == NOBODY else 10.0,
    )


def start(folder: Path, servers: str = NOBODY) -> Courier:
    made, _ = start_publisher(configuration(folder, servers), SystemClock(), "/gateway/test")
    assert isinstance(made, Courier)
    return made


def child_of(made: Courier) -> int:
    wait_until(lambda: made._child is not None)
    assert made._child is not None
    return made._child.pid


def runs(pid: int) -> bool:
    """Whether a process is there; one that has ended and waits for init to take note is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def spooled(folder: Path) -> list[RequestEvent]:
    """Read every slot; all of them must be free, so that no publisher is left."""
    found: list[RequestEvent] = []
    slots = sorted((folder / "spool").glob("slot-*"))
    spools = [open_spool(folder / "spool", 1 << 30) for _ in slots]
    for spool in spools:
        while not spool.empty:
            found += [msgspec.json.decode(record.value, type=RequestEvent) for record in spool.read(500)]
            if not spool.empty:
                spool.advance()
        spool.close()
    return found


def published(servers: str, topic: str) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "apart", "enable.partition.eof": True})
    found: list[bytes] = []
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while True:
            for message in consumer.consume(1000, 1.0):
                if message.error() is not None:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    return found
                found.append(message.value() or b"")
    finally:
        consumer.close()


def test_a_process_killed_again_and_again_costs_no_request(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    servers = kafka.bootstrap_servers
    admin = AdminClient({"bootstrap.servers": servers})
    if "requests" not in admin.list_topics(timeout=30).topics:
        admin.create_topics([NewTopic("requests", 1, 1)])["requests"].result(30)
    before = len(published(servers, "requests"))
    courier = start(tmp_path, servers)
    killed = 0
    for number in range(600):
        assert courier.offer(exchange(number, f"Tell me of the sea, part {number}. " * 20))
        time.sleep(0.002)
        if number % 200 == 150:
            wait_until(lambda: courier._spoke)
            os.kill(child_of(courier), signal.SIGKILL)
            killed += 1
    wait_until(lambda: len(courier._ledger) == courier.counts.total(WAITING) == 0)  # The spool is empty, too.
    last = child_of(courier)
    courier.stop()
    events = [msgspec.json.decode(value, type=RequestEvent) for value in published(servers, "requests")[before:]]
    # At least once: what was sent and not yet confirmed when a process was killed may be there twice, by the same id.
    assert len({event.event_id for event in events}) == 600
    assert courier.counts.total(DROPPED) == 0
    assert courier.counts.get(FAILURES, "process") == killed == 3
    assert not runs(last)


def test_without_a_broker_what_waits_is_in_the_spool_when_stop_returns(tmp_path: Path) -> None:
    courier = start(tmp_path)
    for number in range(50):
        courier.offer(exchange(number))
    pid = child_of(courier)
    courier.stop()
    assert not runs(pid)
    assert len({event.event_id for event in spooled(tmp_path)}) == 50
    assert courier.counts.total(DROPPED) == 0


def test_a_signal_to_all_processes_ends_the_server_first(tmp_path: Path) -> None:
    courier = start(tmp_path)
    courier.offer(exchange(1))
    pid = child_of(courier)
    wait_until(lambda: courier._spoke)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    for each in range(2, 11):
        courier.offer(exchange(each))
    courier.stop()
    assert len({event.event_id for event in spooled(tmp_path)}) == 10
    assert courier.counts.total(FAILURES) == 0


@pytest.mark.parametrize(
    "then",
    [
        "os.kill(os.getpid(), signal.SIGKILL)",
        # A process that it forked holds the other end of the socket open after the server's end.
        "if os.fork() == 0:\n    time.sleep(15)\n    os._exit(0)\nos.kill(os.getpid(), signal.SIGKILL)",
        "",  # An end in good order, by the interpreter's own hook.
    ],
    ids=["killed", "killed beside a fork", "ended"],
)
def test_a_server_that_ends_leaves_a_process_that_drains_and_ends(tmp_path: Path, then: str) -> None:
    program = SERVER.replace("{then}", then)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("STILLWATCH_")},
        **configuration(tmp_path).as_environment(),
    }
    with subprocess.Popen(
        [sys.executable, "-c", program, "200"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        server.stdout.close()
        code = server.wait(60)
    assert (code == 0) == (then == "")
    wait_until(lambda: not runs(pid), 60)
    assert len({event.event_id for event in spooled(tmp_path)}) == 200


def test_a_server_that_is_asked_to_end_has_put_everything_away_before_it_does(tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("STILLWATCH_")},
        **configuration(tmp_path).as_environment(),
    }
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.gateways.loaded_app:watched", "--factory", "--port", str(port)]
    with subprocess.Popen([*command, "--log-level", "warning"], cwd=ROOT, env=environment) as server:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        body = {"model": "m", "messages": [{"role": "user", "content": "Tell me of the sea."}]}

        def ask() -> bool:
            try:
                return httpx.post(url, json=body, headers={"authorization": "Bearer sk-one"}).is_success
            except httpx.ConnectError:
                return False

        wait_until(ask)
        assert all(ask() for _ in range(20))
        server.terminate()
        server.wait(60)
    assert len(spooled(tmp_path)) == 21


def test_no_marked_word_and_no_key_is_anywhere_but_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    courier = start(tmp_path)
    seen: list[bytes] = []
    for number in range(20):
        work: Any = exchange(number, "", organization_raw=CANARIES["organization"], user_agent=CANARIES["agent"])
        work.account_raw, work.client_address = CANARIES["key"], CANARIES["address"]
        body = json.dumps(openai_record()["request"]).encode()
        work.request.chunks = [body if number % 2 else CANARIES["prompt"].encode()]
        work.response.add(json.dumps(openai_record()["response"]).encode())
        courier.offer(work)
        if number == 10:
            wait_until(lambda: courier._spoke)
            pid = child_of(courier)
            seen += [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(courier._ledger) == 0)
    courier.stop()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(map(len, files)) > 1000  # There is something to look through.
    out = capfd.readouterr()
    shown = [out.out, out.err, caplog.text, courier.counts.exposition(), repr(vars(courier))]
    assert_hidden(b"\n".join([*files, *seen, *(each.encode() for each in shown)]))
