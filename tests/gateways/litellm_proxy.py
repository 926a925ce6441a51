"""The real LiteLLM proxy, pinned, with mock responses and no network but loopback: every request once in `requests`.

Run by `make test-gateways`, which builds the proxy's environment from deploy/litellm.lock and takes the network away.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from services.gateway.identity import Identity
from tests.gateways.conftest import KEY, ROOT, answers, free_port, read_topic, settings, wait_until
from tests.topics import make_topic

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
PROXY = ROOT / ".venv-litellm" / "bin" / "litellm"
GOLDEN = Path(__file__).with_name("litellm.golden.json")
MASTER = "sk-pelican-master-key"
CONFIGURATION = f"""
model_list:
  - model_name: teacher
    litellm_params: {{model: openai/gpt-4o-mini, api_key: sk-walrus-upstream, mock_response: "A pelican said nothing."}}
  - model_name: broken
    litellm_params: {{model: openai/gpt-4o-mini, api_key: sk-walrus-upstream, mock_response: "litellm.RateLimitError"}}
litellm_settings:
  callbacks: services.gateway.litellm_logger.stillwatch_logger
  num_retries: 0
general_settings:
  master_key: {MASTER}
"""
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "NO_DOCS": "True"}
# What a golden event cannot know: ids that are made up, and times.
VARIABLE = ("event_id", "time_unix_ms", "duration_ms", "time_to_first_chunk_ms")
PROMPT = "Tell me of the zebrafish, step by step, and of nothing else."


class Proxy:
    """The proxy's address, and where its words went."""

    def __init__(self, url: str, log: Path, metrics: str) -> None:
        self.url = url
        self.log = log
        self.metrics = metrics

    def ask(self, model: str, prompt: str = PROMPT, **more: Any) -> tuple[int, bytes]:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "user": "ocelot-end-user", **more}
        headers = {"Authorization": f"Bearer {MASTER}", "User-Agent": "distil/1.0"}
        answer = httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
        return answer.status_code, answer.content


@pytest.fixture(scope="module")
def proxy(kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    assert PROXY.is_file(), "make test-gateways builds .venv-litellm"
    make_topic(kafka.bootstrap_servers, "requests", 2)
    folder = tmp_path_factory.mktemp("litellm")
    (folder / "config.yaml").write_text(CONFIGURATION, encoding="utf-8")
    port, metrics, log = free_port(), free_port(), folder / "proxy.log"
    named = {"STILLWATCH_GATEWAY_METRICS_PORT": str(metrics), "PYTHONPATH": str(ROOT)}
    environment = settings(kafka.bootstrap_servers, folder, **QUIET, **named)
    command = [str(PROXY), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=out)
    try:
        url = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            assert process.poll() is None, log.read_text(encoding="utf-8")[-4000:]
            return answers(f"{url}/health/liveliness")

        wait_until(ready, 540, "the proxy answers")
        yield Proxy(url, log, f"http://127.0.0.1:{metrics}/metrics")
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def test_there_is_no_way_out_of_this_network() -> None:
    with pytest.raises(OSError, match=r".+"), socket.create_connection(("192.0.2.1", 80), timeout=2):
        pass
    interfaces = {name for _, name in socket.if_nameindex()}
    assert interfaces == {"lo"}, "run it by `make test-gateways`, which takes the network away"


def test_every_request_is_told_once_and_as_the_golden_fields_say(proxy: Proxy, servers: str) -> None:
    assert proxy.ask("teacher", temperature=0.5, max_tokens=64)[0] == 200
    status, streamed = proxy.ask("teacher", stream=True, stream_options={"include_usage": True})
    assert status == 200
    assert streamed.count(b"data:") > 2
    assert proxy.ask("broken")[0] == 429
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: proxy.ask("teacher", "Four at once: what is a walrus?")[0], range(4)))
    assert together == [200] * 4
    wait_until(lambda: len(read_topic(servers, "requests")) >= 7, 60, "seven events are on the topic")
    wait_until(lambda: "stillwatch_gateway_waiting" in metrics(proxy), 30, "the counts are shown")
    values = read_topic(servers, "requests")
    events = [json.loads(value) for value in values]
    assert len(events) == len({event["event_id"] for event in events}) == 7
    stable = sorted(
        ({name: value for name, value in event.items() if name not in VARIABLE} for event in events),
        key=lambda event: json.dumps(event, sort_keys=True),
    )
    if "STILLWATCH_WRITE_GOLDEN" in os.environ:
        GOLDEN.write_text(json.dumps(stable, indent=1) + "\n", encoding="utf-8")
    assert stable == json.loads(GOLDEN.read_text(encoding="utf-8"))
    account = Identity(KEY.encode()).account("litellm_proxy_master_key")
    assert {event["account"] for event in events} == {account}
    assert 'stillwatch_gateway_events_total{format="litellm"} 7' in metrics(proxy)
    assert "stillwatch_gateway_dropped_total" not in metrics(proxy)


def metrics(proxy: Proxy) -> str:
    return httpx.get(proxy.metrics, timeout=10).text


def test_no_word_of_a_request_is_on_the_topic_in_the_metrics_or_in_our_lines(proxy: Proxy, servers: str) -> None:
    ours = [line for line in proxy.log.read_bytes().splitlines() if b"publisher." in line or b"gateway." in line]
    data = b"\n".join([*read_topic(servers, "requests"), metrics(proxy).encode(), *ours]).lower()
    assert b"gpt" in data or b"teacher" in data  # There is something to find.
    for word in (b"zebrafish", b"pelican", b"walrus", b"ocelot", MASTER.encode(), b"127.0.0.1"):
        assert word not in data, word
