"""Whether both sides did the same job: what each has written of every account, read back from its own changelog."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition
from faust.exceptions import SecurityWarning
from faust.serializers import codecs
from plain_features import features

from detection.features.accounts import NAMES, account_features
from detection.state.rows import read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

TOLERANCE: Final = 2e-3  # The product's logarithms are fixed point, in steps of 1/1024; the peer's are floats.


def newest(servers: str, topic: str) -> dict[bytes, bytes]:
    """Read a changelog to its end: the newest value of each key."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "bench-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    left = set(consumer.list_topics(topic, 10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, number, 0) for number in left])
    found: dict[bytes, bytes] = {}
    while left:
        for message in consumer.consume(5_000, 0.5):
            error = message.error()
            if error is None:
                found[message.key() or b""] = message.value() or b""
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition() or 0)
            else:
                raise RuntimeError(error.name())
    consumer.close()
    return found


def ours(servers: str) -> dict[str, NDArray[np.float64]]:
    """Give requests, tokens and features of each account by the product's state topic."""
    values = {key: value for key, value in newest(servers, "accounts-state").items() if len(key) == 16}
    rows = read_rows(list(values.values()))
    matrix = np.column_stack([rows["requests"], rows["input_tokens"], rows["output_tokens"], account_features(rows)])
    return {f"{account:016x}": line for account, line in zip(rows["account"].tolist(), matrix, strict=True)}


def peers(servers: str, app_id: str) -> dict[str, NDArray[np.float64]]:
    """Give the same of the peer's table."""
    found = {}
    # The benchmark has written these pickles itself, a minute ago, on a broker of its own.
    warnings.simplefilter("ignore", SecurityWarning)
    for key, value in newest(servers, f"{app_id}-accounts-changelog").items():
        state: Any = codecs.loads("pickle", value)["state"]
        vector = features(state)
        numbers = [state.requests, state.input_tokens, state.output_tokens]
        found[json.loads(key)] = np.array([*numbers, *(vector.get(name, np.nan) for name in NAMES)])
    return found


def compare(one: Mapping[str, NDArray[np.float64]], other: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Count accounts that differ in requests or tokens, and tell the largest difference of any feature."""
    both = sorted(one.keys() & other.keys())
    left, right = np.array([one[name] for name in both]), np.array([other[name] for name in both])
    gaps = np.abs(left[:, 3:] - right[:, 3:])
    gaps[np.isnan(left[:, 3:]) & np.isnan(right[:, 3:])] = 0.0
    return {
        "accounts": len(both),
        "requests": float(left[:, 0].sum()),
        "accounts_on_one_side_only": len(one.keys() ^ other.keys()),
        "accounts_that_differ": int((left[:, :3] != right[:, :3]).any(axis=1).sum()),
        "features": gaps.shape[1],
        # A value on one side only is no small difference.
        "largest_feature_difference": float(np.nan_to_num(gaps, nan=np.inf).max()),
    }
