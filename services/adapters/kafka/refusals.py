"""What brokers refuse, counted and told in a line of ours wherever the client library learns of it.

The library goes on trying after a refused login, and speaks of it to its error callback alone; without one, a process
with a wrong password would wait in silence. The callback runs inside of the client's own calls.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from schemas.access import ACCESS
from services.adapters.kafka.client import REFUSAL_KINDS, kind_of_refusal
from services.errors import StillwatchError
from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    from confluent_kafka import KafkaError

    from schemas.access import Access
    from services.adapters.kafka.client import RefusalKind
    from services.telemetry.metrics import Metrics

NAME: Final = "stillwatch_kafka_refusals_total"
SHOWN_SECONDS: Final = 20.0  # Longer than the time between two scrapes: what nobody could read was not counted.
_ASK_SECONDS: Final = 5.0
_QUIET_SECONDS: Final = 60.0
_HINTS: Final[dict[RefusalKind, str]] = {
    "authentication": "Look at STILLWATCH_KAFKA_SASL_USERNAME and its password: the brokers know no such user.",
    "tls": "Look at STILLWATCH_KAFKA_SSL_CA, and at the name and the end of the brokers' certificate.",
    "authorization": "Give this principal the rights that schemas/access.py names, or start it under its own.",
}


class BrokerRefusedError(StillwatchError):
    """The brokers refuse this process: its login, its certificate authority, or a right that it needs."""

    def __init__(self, kind: RefusalKind, what: str) -> None:
        super().__init__(f"Kafka refuses this process ({kind}): {what}.", _HINTS[kind])
        self.kind = kind


class ClientLostError(StillwatchError):
    """The client library gave a producer up for good; a new process begins where the last commit ended."""

    hint = "The supervisor starts it again; if it comes back often, look at the brokers' logs."


class Refusals:
    """Counts refusals on a process's metrics. ``watch`` belongs into the settings of each of its clients."""

    def __init__(self, metrics: Metrics) -> None:
        # At zero from the start on, so that the first refusal is an increase.
        self._counters = {kind: metrics.counter(NAME, kind=kind) for kind in REFUSAL_KINDS}
        self._told: dict[str, float] = {}
        self.last: tuple[RefusalKind, str] | None = None
        self.beside: KafkaException | None = None  # What ended a thread beside the main one.

    def watch(self) -> dict[str, Any]:
        """Give what a client's settings need besides. With it, fatal errors come out of ``poll`` and ``flush``."""
        return {"error_cb": self.note}

    def note(self, error: KafkaError) -> RefusalKind | None:
        """Count an error where it is a refusal; told once a minute by name, for a client tries every second."""
        kind = kind_of_refusal(error)
        if kind is None:
            return None
        self._counters[kind].inc()
        self.last = kind, error.name()
        now = time.monotonic()
        if now - self._told.get(error.name(), -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._told[error.name()] = now
            get_logger().error("kafka.refused", kind=kind, error=error.name(), detail=error.str())
        return kind

    def require_admission(self, config: Mapping[str, Any], process: str) -> None:
        """Raise BrokerRefusedError where brokers refuse the login, or a right to a topic that ``process`` needs.

        Brokers that do not answer, and topics that are not there, are left to the process's own patience.
        """
        admin = AdminClient({**config, **self.watch(), "log_level": 0})
        try:
            admin.list_topics(timeout=_ASK_SECONDS)
        except KafkaException:
            admin.poll(0)
            if self.last is not None:
                raise BrokerRefusedError(*self.last) from None
            protocol = str(config["security.protocol"])
            # A broker only breaks off what does not begin with TLS, as one that stops does: so it is asked by TLS.
            if not protocol.endswith("SSL") and _speaks_tls(str(config["bootstrap.servers"]).partition(",")[0]):
                self._counters["tls"].inc()
                raise BrokerRefusedError("tls", f"brokers speak TLS, and this process {protocol}") from None
            return
        for access in ACCESS:
            if access.process == process:
                self._require_rights(admin, access)

    def _require_rights(self, admin: AdminClient, access: Access) -> None:
        needed: dict[str, set[AclOperation]] = {}
        for operation, topics in ((AclOperation.READ, access.reads), (AclOperation.WRITE, access.writes)):
            for topic in topics:
                needed.setdefault(topic.name, set()).add(operation)
        answers = admin.describe_topics(
            TopicCollection(list(needed)), include_authorized_operations=True, request_timeout=_ASK_SECONDS
        )
        for name, answer in answers.items():
            try:
                allowed = answer.result().authorized_operations
            except KafkaException as failure:
                if self.note(failure.args[0]) is None:
                    continue
                lacking = needed[name]
            else:
                # Whoever may read or write may describe, so nothing at all is a broker that does not tell.
                lacking = needed[name] - set(allowed) if allowed else set()
                if lacking:
                    self._counters["authorization"].inc()
            if lacking:
                rights = " and ".join(sorted(operation.name.capitalize() for operation in lacking))
                raise BrokerRefusedError("authorization", f"{rights} on the topic {name}")


def _speaks_tls(server: str) -> bool:
    host, _, port = server.strip().rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # Nothing is sent, and whose certificate it is does not matter.
    try:
        with (
            socket.create_connection((host, int(port)), _ASK_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return True
    except (OSError, ValueError):
        return False


@contextmanager
def telling(refusals: Refusals, stop: threading.Event) -> Iterator[None]:
    """Frame a process's work: what ends it because brokers refuse it, or for good, is an error of ours, in one line.

    A refusal is shown for as long as a scrape may take before the process ends.
    """
    try:
        yield
        if refusals.beside is not None:
            raise refusals.beside
    except (KafkaException, StillwatchError) as error:
        failure = error if isinstance(error, KafkaException) else error.__cause__
        told = error
        if isinstance(failure, KafkaException):
            kind = refusals.note(failure.args[0])
            if kind is not None:
                told = BrokerRefusedError(kind, failure.args[0].name())
            elif failure is error and failure.args[0].fatal():
                told = ClientLostError(f"the Kafka client cannot go on: {failure.args[0].name()}")
        if isinstance(told, BrokerRefusedError):
            stop.wait(SHOWN_SECONDS)
        if told is error:
            raise
        raise told from None
