"""Each principal of the table does what the table says, and the broker refuses it everything else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AclOperation, AdminClient

from schemas.access import ACCESS, Access
from schemas.topics import TOPICS
from services.adapters.embedded.secured import ADMIN
from tests.integration.security.conftest import STRANGER, TENANT

if TYPE_CHECKING:
    from services.adapters.embedded.secured import SecuredKafka

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
NAMES = [topic.name for topic in TOPICS]
GROUPS = sorted({group.replace("{tenant}", TENANT) for access in ACCESS for group in access.groups} | {"foreign"})
LOADING = {"COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR"}
PRINCIPALS = [*ACCESS, Access(process=STRANGER)]
each_principal = pytest.mark.parametrize("access", PRINCIPALS, ids=[access.process for access in PRINCIPALS])


def names(topics: tuple[object, ...]) -> set[str]:
    return {getattr(topic, "name") for topic in topics}  # noqa: B009 - the table's rows, typed as objects


def write_to_each(config: dict[str, object]) -> dict[str, str]:
    """Write one record to every topic; give the errors by topic, "" where the broker has the record."""
    producer = Producer({**config, "delivery.timeout.ms": 20_000, "log_level": 0})
    outcomes: dict[str, str] = {}
    for name in NAMES:
        producer.produce(
            name,
            b"{}",
            b"k",
            partition=0,
            on_delivery=lambda error, _message, name=name: outcomes.update({name: error.name() if error else ""}),
        )
    assert producer.flush(60) == 0
    return outcomes


@pytest.fixture(scope="module")
def filled(secured: SecuredKafka) -> SecuredKafka:
    """Every topic has a record in its first partition."""
    assert set(write_to_each(secured.client(ADMIN)).values()) == {""}
    return secured


@each_principal
def test_it_writes_to_its_topics_and_to_no_other(filled: SecuredKafka, access: Access) -> None:
    outcomes = write_to_each(filled.client(access.process))
    written = {name for name, error in outcomes.items() if not error}
    assert written == names(access.writes)
    assert {error for error in outcomes.values() if error} <= {"TOPIC_AUTHORIZATION_FAILED"}


@each_principal
def test_it_reads_its_topics_and_no_other(filled: SecuredKafka, access: Access) -> None:
    own = {"group.id": "unused", "enable.auto.commit": False, "log_level": 0}
    consumer = Consumer({**filled.client(access.process), **own})
    refused = set()
    for name in NAMES:
        error = consumer.list_topics(name, timeout=30).topics[name].error
        if error is not None:
            assert error.name() == "TOPIC_AUTHORIZATION_FAILED"
            refused.add(name)
    # What it may know of, and not read, is refused at the fetch; what it may not know of is never fetched.
    assert refused == set(NAMES) - names(access.reads) - names(access.writes) - names(access.describes)
    consumer.assign([TopicPartition(name, 0, OFFSET_BEGINNING) for name in NAMES])
    read: set[str] = set()
    deadline = time.monotonic() + 60
    while len(read | refused) < len(NAMES) and time.monotonic() < deadline:
        for message in consumer.consume(500, 0.5):
            error = message.error()
            if error is None:
                read.add(str(message.topic()))
            elif message.topic() is not None:  # Else it speaks of the group.
                assert error.name() == "TOPIC_AUTHORIZATION_FAILED"
                refused.add(str(message.topic()))
    consumer.close()
    assert read == names(access.reads)
    assert refused == set(NAMES) - read


def described(admin: AdminClient) -> dict[str, Any]:
    """Ask for every group once their coordinator has loaded them: a young broker says that it has not."""
    answers: dict[str, Any] = {}
    deadline = time.monotonic() + 60
    while missing := [group for group in GROUPS if group not in answers]:
        assert time.monotonic() < deadline, f"the coordinator does not load {missing}"
        asked = admin.describe_consumer_groups(missing, include_authorized_operations=True, request_timeout=30)
        for group, answer in asked.items():
            failure = answer.exception(30)
            if failure is None or failure.args[0].name() not in LOADING:
                answers[group] = answer
        time.sleep(0.2)
    return answers


@each_principal
def test_it_joins_its_groups_and_no_other(secured: SecuredKafka, access: Access) -> None:
    own = {group.replace("{tenant}", TENANT) for group in access.groups}
    admin = AdminClient({**secured.client(access.process), "log_level": 0})
    joins, looks = set(), set()
    for group, answer in described(admin).items():
        failure = answer.exception(30)
        if failure is not None:
            assert failure.args[0].name() == "GROUP_AUTHORIZATION_FAILED"
            continue
        operations = set(answer.result().authorized_operations or ())
        joins |= {group} if AclOperation.READ in operations else set()
        looks |= {group} if AclOperation.DESCRIBE in operations else set()
        assert operations <= {AclOperation.READ, AclOperation.DESCRIBE}
    assert joins == own
    assert looks == (set(GROUPS) if access.watches_groups else own)


@each_principal
def test_it_has_its_transactions_and_no_other(secured: SecuredKafka, access: Access) -> None:
    for owner in ("accounts", "pools"):
        identifier = f"stillwatch-{owner}-77-of-{access.process}"
        producer = Producer({**secured.client(access.process), "transactional.id": identifier, "log_level": 0})
        if access.transactions and identifier.startswith(access.transactions):
            producer.init_transactions(30)
        else:
            with pytest.raises(KafkaException) as caught:
                producer.init_transactions(30)
            assert caught.value.args[0].name() == "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"


@each_principal
def test_it_makes_and_deletes_no_topic(secured: SecuredKafka, access: Access) -> None:
    admin = AdminClient({**secured.client(access.process), "log_level": 0})
    with pytest.raises(KafkaException) as caught:
        admin.delete_topics(["alerts"], request_timeout=30)["alerts"].result()
    assert caught.value.args[0].name() == "TOPIC_AUTHORIZATION_FAILED"
