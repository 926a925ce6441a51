from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from services.adapters.embedded import EmbeddedKafka, console_consumer, ports
from services.errors import AlreadyRunningError

pytestmark = pytest.mark.integration


def create(servers: str, topic: str, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    for future in admin.create_topics(
        [NewTopic(topic, num_partitions=2, replication_factor=1, config=config)]
    ).values():
        future.result(20)


def producer(servers: str) -> Producer:
    return Producer({"bootstrap.servers": servers, "enable.idempotence": True, "message.timeout.ms": 60_000})


def read_all(servers: str, topic: str, expected: int, seconds: float = 30.0) -> list[bytes]:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"read-{topic}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    values: list[bytes] = []
    deadline = time.monotonic() + seconds
    while len(values) < expected and time.monotonic() < deadline:
        for message in consumer.consume(1_000, 0.2):
            assert message.error() is None
            values.append(message.value() or b"")
    consumer.close()
    return values


def test_a_client_outlives_a_broker_that_is_killed_under_it(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path) as kafka:
        servers = kafka.bootstrap_servers
        create(servers, "survivors")
        delivered: list[bytes] = []
        client = producer(servers)

        def note(error: object, message: object) -> None:
            assert error is None, error
            delivered.append(message.value())  # type: ignore[attr-defined]  # confluent's message has no types

        for number in range(1_000):
            client.produce("survivors", value=b"%d" % number, key=b"%d" % number, on_delivery=note)
            client.poll(0)
            if number == 500:
                client.flush(20)
                kafka.kill()
        kafka.start()
        assert kafka.bootstrap_servers == servers
        assert client.flush(60) == 0
        assert len(delivered) == 1_000
        assert sorted(map(int, read_all(servers, "survivors", 1_000))) == list(range(1_000))


def test_a_later_run_has_the_records_on_another_port(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path) as kafka:
        create(kafka.bootstrap_servers, "kept")
        client = producer(kafka.bootstrap_servers)
        client.produce("kept", value=b"one")
        assert client.flush(20) == 0
        with pytest.raises(AlreadyRunningError):
            EmbeddedKafka(tmp_path).start()
        former = kafka.port
    with EmbeddedKafka(tmp_path, port=ports.choose(taken=[former])) as kafka:
        assert kafka.port != former
        assert read_all(kafka.bootstrap_servers, "kept", 1) == [b"one"]


def test_topics_come_from_the_table_alone(kafka: EmbeddedKafka) -> None:
    metadata = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics("undeclared", timeout=10)
    assert metadata.topics["undeclared"].error is not None


def test_the_brokers_own_consumer_reads_a_topic(kafka: EmbeddedKafka) -> None:
    create(kafka.bootstrap_servers, "told")
    client = producer(kafka.bootstrap_servers)
    client.produce("told", key=b"k", value=b"v", headers=[("ce_id", b"7")])
    assert client.flush(20) == 0
    command = console_consumer(kafka.base_dir, kafka.bootstrap_servers, "told", max_messages=1, timeout_ms=20_000)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "ce_id:7\tk\tv\n"


def test_a_transaction_hides_what_it_aborts(kafka: EmbeddedKafka) -> None:
    create(kafka.bootstrap_servers, "transacted")
    client = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": "embedded-test"})
    client.init_transactions(30)
    for value, commit in ((b"aborted", False), (b"committed", True)):
        client.begin_transaction()
        client.produce("transacted", value=value)
        client.flush(20)
        if commit:
            client.commit_transaction(20)
        else:
            client.abort_transaction(20)
    assert read_all(kafka.bootstrap_servers, "transacted", 1) == [b"committed"]


def test_a_compacted_topic_is_compacted(kafka: EmbeddedKafka) -> None:
    settings = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    create(kafka.bootstrap_servers, "newest", **settings)
    client = producer(kafka.bootstrap_servers)
    for number in range(50):
        client.produce("newest", partition=0, key=b"k", value=b"%d" % number)
        if number % 10 == 9:
            client.flush(20)
            time.sleep(0.15)
    client.produce("newest", partition=0, key=b"other", value=b"last")
    assert client.flush(20) == 0
    deadline = time.monotonic() + 40
    log = kafka.data / "newest-0"
    while (size := sum(path.stat().st_size for path in log.glob("*.log"))) > 1_000 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert size <= 1_000, "50 values of one key should have become one"


def test_a_broker_is_on_the_loopback_address_alone(kafka: EmbeddedKafka) -> None:
    wanted = {f"{port:04X}" for port in kafka.ports.values()}
    listening = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if port in wanted and line.split()[3] == "0A":
                listening.add(address)
    assert listening in ({"0100007F"}, {"0000000000000000FFFF00000100007F"})


def test_an_unreachable_broker_is_not_ready() -> None:
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": f"127.0.0.1:{ports.choose()}", "log_level": 0}).list_topics(timeout=0.5)
