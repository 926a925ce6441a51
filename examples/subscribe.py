"""Alerts as they come, in a few lines: ``python subscribe.py BROKERS [COUNT]``. Needs confluent-kafka."""  # noqa: INP001

import json
import sys

from confluent_kafka import Consumer

consumer = Consumer(
    {
        "bootstrap.servers": sys.argv[1],
        "group.id": "example-python",
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
    }
)
consumer.subscribe(["alerts"])
left = int(sys.argv[2]) if len(sys.argv) > 2 else -1  # noqa: PLR2004 - the second argument
while left:
    message = consumer.poll(1.0)
    if message is not None and message.error() is None:
        alert = json.loads(message.value() or b"{}")
        sys.stdout.write(f"{alert['severity']} {alert['alert_id']}.{alert['revision']} {alert['title']}\n")
        sys.stdout.flush()
        left -= 1
consumer.close()
