"""The embedded broker as a cluster is set up that strangers reach: TLS, SCRAM-SHA-512, ACLs from ``schemas.access``.

Clients log in by name and password, the broker to its controller by its certificate; who has no rule may do nothing.
Passwords are made anew for each object and reach Kafka in a file of the owner's, never on a command line.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from schemas.access import ACCESS
from services.adapters.embedded import files
from services.adapters.embedded.kafka import EmbeddedKafka
from services.adapters.embedded.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from services.adapters.embedded.certificates import Authority

ADMIN: Final = "admin"
_BROKER: Final = "broker"
_SECONDS: Final = 30.0
_LISTENERS: Final = f"""\
listeners=SASL_SSL://{LOOPBACK}:{{broker}},CONTROLLER://{LOOPBACK}:{{controller}}
listener.security.protocol.map=CONTROLLER:SSL,SASL_SSL:SASL_SSL
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required username="{_BROKER}" password="{{password}}";
ssl.keystore.type=PEM
ssl.keystore.location={{certificate}}
ssl.truststore.type=PEM
ssl.truststore.location={{authority}}
listener.name.controller.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:{ADMIN};User:{_BROKER};User:CN={_BROKER}"""
_KINDS: Final = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}
_PATTERNS: Final = {"literal": ResourcePatternType.LITERAL, "prefix": ResourcePatternType.PREFIXED}
_OPERATIONS: Final = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
}


class SecuredKafka(EmbeddedKafka):
    """A broker for a fresh ``base_dir``: its users are made with its data. ``principals`` can log in."""

    def __init__(self, base_dir: Path, authority: Authority, principals: Iterable[str], **options: Any) -> None:
        super().__init__(base_dir, **options)
        self._authority = authority
        self._certificate = authority.issue(_BROKER)
        self.passwords = {name: secrets.token_urlsafe(18) for name in (ADMIN, _BROKER, *principals)}
        self._asking: AdminClient | None = None

    @property
    def ca(self) -> Path:
        """The certificate of the authority that clients trust."""
        return self._authority.certificate

    def client(self, principal: str) -> dict[str, Any]:
        """Give librdkafka's settings to connect as this principal."""
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": principal,
            "sasl.password": self.passwords[principal],
            "ssl.ca.location": str(self.ca),
        }

    def environment(self, principal: str) -> dict[str, str]:
        """Give the settings of a process that runs under this principal, its password in a file."""
        path = self.home / "passwords" / principal
        files.write_whole(path, self.passwords[principal].encode() + b"\n")
        return {
            "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "STILLWATCH_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "STILLWATCH_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "STILLWATCH_KAFKA_SASL_USERNAME": principal,
            "STILLWATCH_KAFKA_SASL_PASSWORD_FILE": str(path),
            "STILLWATCH_KAFKA_SSL_CA": str(self.ca),
        }

    def grant(self, tenant: str) -> int:
        """Give each principal of the table its rights; raises KafkaException. Gives the number of rules."""
        rules = [
            AclBinding(
                _KINDS[rule["resource"]["type"]],
                rule["resource"].get("name", "kafka-cluster").replace("{tenant}", tenant),
                _PATTERNS[rule["resource"].get("patternType", "literal")],
                f"User:{access.process}",
                rule["host"],
                _OPERATIONS[operation],
                AclPermissionType.ALLOW,
            )
            for access in ACCESS
            for rule in access.acls()
            for operation in rule["operations"]
        ]
        admin = AdminClient(self.client(ADMIN))  # Kept: its end would end what it was asked for.
        for made in admin.create_acls(rules).values():
            made.result(_SECONDS)
        return len(rules)

    def ready(self) -> bool:
        """Whether the broker lets its administrator in: users are known once the metadata is loaded."""
        if self._asking is None:  # One client for all questions: each has threads of its own.
            self._asking = AdminClient(self.client(ADMIN) | {"log_level": 0, "reconnect.backoff.max.ms": 200})
        try:
            there = bool(self._asking.list_topics(timeout=1.0).brokers)
        except KafkaException:
            return False
        if there:
            self._asking = None
        return there

    def listeners(self) -> str:
        """Clients by TLS and SCRAM, the controller by certificates of this authority."""
        return _LISTENERS.format(
            password=self.passwords[_BROKER], certificate=self._certificate, authority=self.ca, **self.ports
        )

    def format_options(self) -> list[str]:
        """Name a file with the users, for a command line is everybody's to read."""
        users = [f"SCRAM-SHA-512=[name={name},password={word}]" for name, word in self.passwords.items()]
        path = self.home / "users"
        files.write_whole(path, "".join(f"--add-scram\n{user}\n" for user in users).encode())
        return [f"@{path}"]
