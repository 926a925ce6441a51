"""The peer: a Bytewax dataflow with its state by key in memory, without a recovery store, windows to a topic."""

from __future__ import annotations

import json
import os
from typing import Any

from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main
from peer_job import HOP_MS, Marks, plant, read, score, window
from plain_features import AccountState, update

forest = plant()
marks = Marks()


def watch(state: AccountState | None, event: Any) -> tuple[AccountState, list[bytes]]:
    held = AccountState() if state is None else state
    out = []
    hop = event.time_unix_ms // HOP_MS
    if hop > held.hop:
        if held.hop >= 0:
            out.append(json.dumps(window(event.account, held, score(forest, held))).encode())
        held.open(hop)
    update(held, event)
    marks.counted(event.account, held)
    return held, out


def build() -> Dataflow:
    brokers = [os.environ["PEER_BROKER"]]
    flow = Dataflow("peer")
    records = kop.input("requests", flow, brokers=brokers, topics=["requests"], batch_size=10_000)
    events = op.map("decode", records.oks, lambda record: read(json.loads(record.value)))
    keyed = op.key_on("key", events, lambda event: event.account)
    closed = op.stateful_flat_map("watch", keyed, watch)
    messages = op.map("message", closed, lambda pair: KafkaSinkMessage(pair[0].encode(), pair[1]))
    kop.output("windows", messages, brokers=brokers, topic=f"{os.environ['PEER_ID']}-windows")
    return flow


if __name__ == "__main__":
    run_main(build())
