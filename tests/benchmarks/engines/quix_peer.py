"""The peer: a Quix Streams application, exactly once, with its state by key in RocksDB and its changelog."""

from __future__ import annotations

import os
import pickle
from typing import Any

from peer_job import HOP_MS, Marks, plant, read, score, window
from plain_features import AccountState, update
from quixstreams import Application

app = Application(
    broker_address=os.environ["PEER_BROKER"],
    consumer_group=os.environ["PEER_ID"],
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_interval=float(os.environ["PEER_CHECKPOINT"]),
    state_dir=os.environ["PEER_DATA"],
    loglevel="WARNING",
)
requests = app.topic("requests", key_deserializer="str", value_deserializer="json")
windows = app.topic(f"{os.environ['PEER_ID']}-windows", key_serializer="str", value_serializer="json")
forest = plant()
marks = Marks()


def watch(value: Any, state: Any) -> list[Any]:
    event = read(value)
    raw = state.get_bytes("row")
    # The benchmark has written these pickles itself, on a broker of its own.
    held = AccountState() if raw is None else pickle.loads(raw)  # noqa: S301 - see above
    out = []
    hop = event.time_unix_ms // HOP_MS
    if hop > held.hop:
        if held.hop >= 0:
            out.append(window(event.account, held, score(forest, held)))
        held.open(hop)
    update(held, event)
    state.set_bytes("row", pickle.dumps(held, pickle.HIGHEST_PROTOCOL))
    marks.counted(event.account, held)
    return out


frame = app.dataframe(requests).apply(watch, stateful=True, expand=True).to_topic(windows)

if __name__ == "__main__":
    app.run()
