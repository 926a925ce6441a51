"""The peer: a plain Faust agent with a table by account and River for each event. `faust_peer.py worker ...`

As Faust's own guide has it: records of declared fields in JSON, a table whose values go to a changelog at each event,
outputs by ``topic.send``. Table values are pickled objects, for JSON would cost several times more. ``PEER_MODE`` is
``event`` (features, score and learn at each request) or ``window`` (only when an account's window has ended).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import faust
from plain_features import AccountState, features, update
from river import anomaly

from detection.config import DetectionConfig
from detection.features.catalogue import ACCOUNT_FEATURES

CONFIG = DetectionConfig()
HOP_MS = CONFIG.clocking.hop_ms
EACH_EVENT = os.environ.get("PEER_MODE", "event") == "event"
WIDTH = int(os.environ.get("PEER_PARTITIONS", "8"))


class Sketch(faust.Record):
    ladder: str
    projection: str
    segments: str = ""
    boundaries: str = ""
    last_turn: str = ""
    response: str = ""
    flags: int = 0


class Request(faust.Record, serializer="json"):
    event_id: str
    time_unix_ms: int
    account: str
    gen_ai_request_model: str
    organization: str = ""
    gen_ai_provider_name: str = ""
    gen_ai_usage_input_tokens: int = 0
    gen_ai_usage_output_tokens: int = 0
    gen_ai_usage_reasoning_output_tokens: int = 0
    gen_ai_request_max_tokens: int | None = None
    gen_ai_request_temperature: float | None = None
    gen_ai_request_choice_count: int = 1
    gen_ai_request_stream: bool = False
    gen_ai_response_finish_reasons: list[str] = []  # noqa: RUF012 - Faust's way to a default
    time_to_first_chunk_ms: int | None = None
    duration_ms: int = 0
    error_type: str = ""
    client_family: str = ""
    client_address: str = ""
    client_network: str = ""
    logprobs: bool = False
    logit_bias: str = ""
    logit_bias_count: int = 0
    multi_turn: bool = False
    sketch: Sketch | None = None


class Row(faust.Record, serializer="pickle"):
    state: Any  # An AccountState: one pickled object is cheaper than a record of thirty fields.


class Window(faust.Record, serializer="json"):
    account: str
    hop: int
    requests: int
    input_tokens: int
    output_tokens: int
    errors: int
    total_requests: int
    score: float


app = faust.App(
    os.environ.get("PEER_ID", "bench-faust"),
    broker=os.environ.get("PEER_BROKER", "kafka://127.0.0.1:9092"),
    store="memory://",
    topic_partitions=WIDTH,
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
    datadir=os.environ.get("PEER_DATA", "build/faust"),
)
requests = app.topic("requests", key_type=str, key_serializer="raw", value_type=Request)
windows = app.topic(f"{app.conf.id}-windows", key_type=str, key_serializer="raw", value_type=Window)
accounts: Any = app.Table(
    "accounts", default=lambda: Row(state=AccountState()), partitions=WIDTH, key_type=str, value_type=Row
)
forest: Any = anomaly.HalfSpaceTrees(
    n_trees=CONFIG.forest.trees,
    height=CONFIG.forest.height,
    window_size=CONFIG.forest.window,
    limits={feature.name: (feature.low, feature.high) for feature in ACCOUNT_FEATURES},
    seed=CONFIG.seed,
)
MARKED = tuple(map(int, os.environ.get("PEER_MARKED", "0").split(",")))
MARKS = Path(os.environ.get("PEER_MARKS", os.devnull))
seen = 0
LOW = {feature.name: feature.low for feature in ACCOUNT_FEATURES}


def score(state: AccountState) -> float:
    """Score the account, then learn it."""
    vector = LOW | features(state)
    found = forest.score_one(vector)
    forest.learn_one(vector)
    return float(found)


@app.agent(requests)
async def watch(stream: Any) -> None:
    async for event in stream:
        row = accounts[event.account]
        state = row.state
        hop = event.time_unix_ms // HOP_MS
        if hop > state.hop:
            if state.hop >= 0:
                await close(event.account, state)
            state.hop = hop
            state.hop_requests = state.hop_input = state.hop_output = state.hop_errors = 0
        update(state, event)
        if EACH_EVENT:
            state.score = score(state)
        accounts[event.account] = row
        mark()


def mark() -> None:
    """Note the CPU time at the end of the warm-up and at the last request: Faust's commits are seconds apart."""
    global seen  # noqa: PLW0603 - a count of this process
    seen += 1
    if seen in MARKED:
        with MARKS.open("a", encoding="ascii") as file:
            file.write(f"{time.process_time()}\n")


async def close(account: str, state: AccountState) -> None:
    window = Window(
        account=account,
        hop=state.hop,
        requests=state.hop_requests,
        input_tokens=state.hop_input,
        output_tokens=state.hop_output,
        errors=state.hop_errors,
        total_requests=state.requests,
        score=state.score if EACH_EVENT else score(state),
    )
    await windows.send(key=account, value=window)


if __name__ == "__main__":
    app.main()
