"""The peer: a plain Faust agent with a table by account and River. `faust_peer.py worker ...`

As Faust's own guide has it: records of declared fields in JSON, a table whose values go to a changelog at each event,
outputs by ``topic.send``. Table values are pickled objects, for JSON would cost several times more. ``PEER_MODE`` is
``event`` (features, score and learn at each request) or ``window`` (only when an account's window has ended).
"""

from __future__ import annotations

import os
from typing import Any

import faust
from peer_job import HOP_MS, Marks, plant, score, window
from plain_features import AccountState, update

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
forest = plant()
marks = Marks()


@app.agent(requests)
async def watch(stream: Any) -> None:
    async for event in stream:
        row = accounts[event.account]
        state = row.state
        hop = event.time_unix_ms // HOP_MS
        if hop > state.hop:
            if state.hop >= 0:
                await windows.send(key=event.account, value=close(event.account, state))
            state.open(hop)
        update(state, event)
        if EACH_EVENT:
            state.score = score(forest, state)
        accounts[event.account] = row
        marks.counted(event.account, state)


def close(account: str, state: AccountState) -> Window:
    return Window(**window(account, state, state.score if EACH_EVENT else score(forest, state)))


if __name__ == "__main__":
    app.main()
