"""Whether the brokers answer, asked beside the health pages, so that no probe waits for a broker that is gone."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from services.telemetry.health import CheckResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka.admin import ClusterMetadata

ASK_SECONDS: Final = 2.0
TIMEOUT_SECONDS: Final = 2.0
# A question or two may be lost to a busy machine; what is longer is an outage, and is told within 10 s.
SILENT_SECONDS: Final = 8.0


def broker_check(config: Mapping[str, Any]) -> Callable[[], CheckResult]:
    """Make the check that a broker has answered within the last ``SILENT_SECONDS``; ``config`` is librdkafka's.

    A daemon thread asks every ``ASK_SECONDS`` for as long as the process lives; the check only reads what it heard.
    """
    presence = BrokerPresence(config)
    threading.Thread(target=presence.watch, name="brokers", daemon=True).start()
    return presence.check


class BrokerPresence:
    """Single assignments only, so that the reader needs no lock."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        # A client of its own: the process's own may be closed, or busy in a call, while the page is asked.
        self._admin = AdminClient(dict(config))
        self._brokers = 0
        self._answered: float | None = None  # By the monotonic clock.
        self._failure = ""

    def watch(self) -> None:
        """Ask for ever; a failure is what the check tells."""
        while True:
            self.ask()
            time.sleep(ASK_SECONDS)

    def ask(self) -> None:
        """Ask once, for ``TIMEOUT_SECONDS`` at most."""
        try:
            found: ClusterMetadata = self._admin.list_topics(timeout=TIMEOUT_SECONDS)
        except KafkaException as error:
            self._failure = str(error.args[0].name())
            self._admin.poll(0)  # The client speaks of refusals only when it is listened to.
            return
        self._failure = ""
        self._brokers = len(found.brokers)
        self._answered = time.monotonic()

    def check(self) -> CheckResult:
        """Tell what was heard last; returns at once."""
        failure = f" ({self._failure})" if self._failure else ""
        if self._answered is None:
            return CheckResult(ready=False, detail=f"no broker has answered yet{failure}")
        silent = time.monotonic() - self._answered
        if silent > SILENT_SECONDS:
            return CheckResult(ready=False, detail=f"no broker has answered for {silent:.0f} s{failure}")
        return CheckResult(ready=self._brokers > 0, detail=f"{self._brokers} brokers")
