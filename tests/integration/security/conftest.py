"""A real broker that asks for TLS, logins and rights, as the chart sets clusters up, and processes against it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from prometheus_client.parser import text_string_to_metric_families

from schemas.access import ACCESS
from schemas.topics import TOPICS
from services.adapters.clock import utc_now
from services.adapters.embedded import ports
from services.adapters.embedded.certificates import Authority
from services.adapters.embedded.secured import ADMIN, SecuredKafka
from services.adapters.kafka.topics import ClusterTopics
from tests.integration.security.tls_postgres import TlsPostgres, program

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
TENANT = "acme"
STRANGER = "stranger"  # It can log in, and no rule names it.
EXPIRED = "expired"
ROLES = ("stillwatch_writer", "stillwatch_api", "stillwatch_reader")
MODULES = {
    "accounts": ["-m", "stream_jobs.accounts"],
    "pools": ["-m", "stream_jobs.pools"],
    "incidents": ["-m", "stream_jobs.incidents"],
    "learning": ["-m", "stream_jobs.learning"],
    "normalise": ["-m", "services.cli.main", "worker", "normalise"],
    "decisions": ["-m", "services.decisions"],
    "subscribers": ["-m", "services.subscribers"],
    "sink": ["-m", "services.alert_sink"],
    "relay": ["-m", "services.alert_sink.relay"],
    "api": ["-m", "services.console"],
    "gateway": ["-m", "services.cli.main", "simulate", "--scenario", "tiny", "--history", "24", "--rate", "3000"],
}


class TestedKafka(SecuredKafka):
    """With one listener more, whose certificate has ended."""

    __test__: ClassVar[bool] = False
    port_names: ClassVar[tuple[str, ...]] = (*SecuredKafka.port_names, EXPIRED)

    def listeners(self) -> str:
        now = utc_now()
        ended = self._authority.issue(EXPIRED, begins=now - timedelta(days=9), ends=now - timedelta(days=1))
        return (
            super()
            .listeners()
            .replace(",CONTROLLER://", f",EXPIRED://127.0.0.1:{self.ports[EXPIRED]},CONTROLLER://")
            .replace("SASL_SSL:SASL_SSL", "SASL_SSL:SASL_SSL,EXPIRED:SASL_SSL")
            + f"\nlistener.name.expired.ssl.keystore.type=PEM\nlistener.name.expired.ssl.keystore.location={ended}"
            + "\nlistener.name.expired.scram-sha-512.sasl.jaas.config="
            + "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        )

    @contextmanager
    def withheld(self, principal: str, topic: str) -> Iterator[None]:
        """Take a principal's rules of a topic away, and give them back."""
        admin = AdminClient(self.client(ADMIN))
        rules = AclBindingFilter(
            ResourceType.TOPIC,
            topic,
            ResourcePatternType.LITERAL,
            f"User:{principal}",
            None,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        taken = admin.delete_acls([rules])[rules].result(30)
        assert taken
        try:
            yield
        finally:
            for made in admin.create_acls(taken).values():
                made.result(30)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), utc_now())


# One for each module: what the tests of rights write into every topic is nobody's state.
@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[TestedKafka]:
    base = tmp_path_factory.mktemp("secured")
    with TestedKafka(base, authority, [*(access.process for access in ACCESS), STRANGER]) as broker:
        ClusterTopics(broker.client(ADMIN), TOPICS, 2, 1).apply()
        assert broker.grant(TENANT) > 100
        yield broker


@pytest.fixture(scope="module")
def database(authority: Authority) -> Iterator[TlsPostgres]:
    """A database with TLS, migrated by its owner, with a user for each role."""
    program("postgres")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)  # The server may be another account's, and must get through to its data.
    server = TlsPostgres(folder, authority)
    try:
        server.start()
        environment = {**os.environ, "STILLWATCH_DATABASE_URL": server.url("owner")}
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, env=environment, check=True)
        for role in ROLES:
            server.add_user(f"{role}_user", role)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@dataclass
class Running:
    """A process of the product under a principal; all that it says is kept."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def refusals(self, kind: str) -> float:
        """Ask the process's own page what it has counted; 0 where it has no page yet."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return 0.0
        name = "stillwatch_kafka_refusals_total"
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        return sum(each.value for each in samples if each.name == name and each.labels["kind"] == kind)

    def await_refusal(self, kind: str, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not self.refusals(kind):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.25)

    def await_ready(self, check: str, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not self.ready(check):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.25)

    def ready(self, check: str) -> bool:
        """Ask its page about one check."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(json.load(answer)["checks"][check]["ready"])
        except urllib.error.HTTPError as error:
            return bool(json.load(error)["checks"][check]["ready"])
        except OSError:
            return False

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


def settings_of(folder: Path, environment: dict[str, str], port: int = 0) -> dict[str, str]:
    """Give a process's whole environment: nothing of another installation, and what these tests set."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("STILLWATCH_")}
    return {
        **inherited,
        "STILLWATCH_BASE_DIR": str(folder / "base"),
        "STILLWATCH_TENANT": TENANT,
        "STILLWATCH_PARTITIONS": "2",
        "STILLWATCH_HMAC_KEY": "a-key-for-tests-of-security-and-nothing-else",
        "STILLWATCH_METRICS_PORT": str(port),
        "STILLWATCH_API_PORT": "0",
        "STILLWATCH_LOG_FORMAT": "json",
        **environment,
    }


@contextmanager
def running(name: str, folder: Path, environment: dict[str, str]) -> Iterator[Running]:
    """Run a process as its command starts it; it is gone at the end."""
    port = ports.choose()
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *MODULES[name]],
            cwd=ROOT,
            env=settings_of(folder, environment, port),
            stdout=out,
            stderr=out,
        )
    try:
        yield Running(process, log, port)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def assert_clear(said: str, secrets: Any) -> None:
    """No stack trace, and no password of anybody."""
    assert "Traceback" not in said, said
    assert '"exception"' not in said, said
    for secret in secrets:
        assert secret not in said
    assert not re.search(r"password\W+[\w-]{20,}", said)
