"""The floor: `floor.py SERVERS EVENTS WARM` reads `requests` by confluent, decodes by msgspec, and does nothing else.

Prints the CPU time of the process (user and system, all threads) for each event after the warm-up, in microseconds.
"""

from __future__ import annotations

import resource
import sys

import msgspec
from confluent_kafka import Consumer, TopicPartition

from schemas.request_event import RequestEvent


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    servers, events, warm = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "bench-floor",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "check.crcs": False,
        }
    )
    width = len(consumer.list_topics("requests", 10).topics["requests"].partitions)
    consumer.assign([TopicPartition("requests", number, 0) for number in range(width)])
    decode = msgspec.json.Decoder(RequestEvent).decode
    count, began, since = 0, 0.0, 0
    while count < events:
        for message in consumer.consume(10_000, 1.0):
            if message.error() is None and message.key() is not None:
                decode(message.value() or b"")
                count += 1
        if not since and count >= warm:
            began, since = cpu_seconds(), count
    print(1e6 * (cpu_seconds() - began) / (count - since))  # noqa: T201 - read by the benchmark
    consumer.close()


if __name__ == "__main__":
    main()
