"""Who may do what with Kafka: each process's topics, groups and transactions, and no more. ACLs are made from this.

``{tenant}`` in a group's name is the installation's tenant. A topic may be described by whoever reads or writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from schemas import topics
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from schemas.topics import Topic

Acl = dict[str, Any]
_BANNER: Final = "# Made by `make contracts` from schemas/topics.py and schemas/access.py; change those, not this.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One principal's rights. ``transactions`` is the beginning of its transactional ids; "" for none."""

    process: str
    reads: tuple[Topic, ...] = ()
    writes: tuple[Topic, ...] = ()
    describes: tuple[Topic, ...] = ()
    groups: tuple[str, ...] = ()
    transactions: str = ""
    watches_groups: bool = False  # May list every group and its offsets: the console shows their lag.

    def acls(self) -> list[Acl]:
        """Give the rules as Strimzi writes them, in the order of the tables."""
        rights: dict[str, list[str]] = {}
        for operation, named in (("Read", self.reads), ("Write", self.writes), ("Describe", self.describes)):
            for topic in named:
                rights.setdefault(topic.name, []).append(operation)
        for operations in rights.values():
            if "Describe" not in operations:
                operations.append("Describe")
        found = [_acl("topic", topic.name, "literal", *rights[topic.name]) for topic in TOPICS if topic.name in rights]
        found += [_acl("group", name, "literal", "Read", "Describe") for name in self.groups]
        if self.transactions:
            found.append(_acl("transactionalId", self.transactions, "prefix", "Write", "Describe"))
        if self.watches_groups:
            found += [_acl("group", "*", "literal", "Describe"), {"resource": {"type": "cluster"}, **_may("Describe")}]
        return found


def _may(*operations: str) -> Acl:
    return {"operations": list(operations), "host": "*"}


def _acl(kind: str, name: str, pattern: str, *operations: str) -> Acl:
    return {"resource": {"type": kind, "name": name, "patternType": pattern}, **_may(*operations)}


ACCESS: Final[tuple[Access, ...]] = (
    Access(
        process="gateway",
        reads=(topics.DECISIONS, topics.KEY_LINKS),
        writes=(topics.REQUESTS, topics.ACCOUNT_ATTRIBUTES, topics.KEY_LINKS),
        groups=("stillwatch-gateway-decisions", "stillwatch-links"),
    ),
    # A gateway that can only write what it has. It reads nothing, and nothing of the product's other topics is its own.
    Access(process="raw-gateway", writes=topics.RAW_TOPICS),
    Access(
        process="normalise",
        reads=(*topics.RAW_TOPICS, topics.KEY_LINKS),
        writes=(topics.REQUESTS, topics.KEY_LINKS, topics.DEAD_LETTERS),
        groups=("stillwatch-normalise", "stillwatch-links"),
    ),
    Access(
        process="accounts",
        reads=(topics.REQUESTS, topics.ACCOUNT_ATTRIBUTES, topics.ACCOUNTS_STATE),
        writes=(
            topics.REQUESTS,  # Heartbeats of silent partitions.
            topics.ACCOUNT_WINDOWS,
            topics.POOL_CONTRIBUTIONS,
            topics.FINDINGS,
            topics.DEAD_LETTERS,
            topics.ACCOUNTS_STATE,
        ),
        groups=("stillwatch-accounts", "stillwatch-recovery"),
        transactions="stillwatch-accounts-",
    ),
    Access(
        process="pools",
        reads=(topics.POOL_CONTRIBUTIONS, topics.POOLS_STATE),
        writes=(topics.FINDINGS, topics.DEAD_LETTERS, topics.POOLS_STATE),
        describes=(topics.REQUESTS,),  # Its width: a hop closes when each of its partitions has closed it.
        groups=("stillwatch-pools", "stillwatch-recovery"),
        transactions="stillwatch-pools-",
    ),
    Access(
        process="incidents",
        reads=(topics.FINDINGS, topics.ENTITLEMENTS, topics.MODELS, topics.ALERTS, topics.INCIDENTS_STATE),
        writes=(topics.ALERTS, topics.DEAD_LETTERS, topics.INCIDENTS_STATE),
        groups=("stillwatch-incidents",),
    ),
    Access(
        process="learning",
        reads=(topics.LABELS, topics.ALERTS, topics.MODELS, topics.INCIDENTS_STATE),
        writes=(topics.MODELS, topics.DEAD_LETTERS),
        groups=("stillwatch-learning",),
    ),
    Access(
        process="decisions",
        reads=(topics.ALERTS, topics.LABELS, topics.ACCOUNT_WINDOWS),
        groups=("{tenant}.decisions", "{tenant}.decisions.meter"),
    ),
    Access(
        process="subscribers",
        reads=(topics.ALERTS,),
        writes=(topics.ALERTS_OCSF,),
        groups=("{tenant}.subscribers",),
    ),
    Access(
        process="sink",
        reads=(topics.ALERTS, topics.MODELS),
        writes=(topics.DEAD_LETTERS,),
        groups=("{tenant}.alert-sink", "{tenant}.alert-sink.shelf"),
    ),
    Access(
        process="relay",
        writes=(topics.ALERTS, topics.LABELS, topics.DECISIONS, topics.ENTITLEMENTS, topics.MODELS),
    ),
    Access(
        process="api",
        reads=(topics.REQUESTS, topics.ACCOUNT_ATTRIBUTES, topics.ACCOUNT_WINDOWS, topics.ENTITLEMENTS),
        describes=TOPICS,
        groups=("stillwatch-console", "stillwatch-trial"),
        watches_groups=True,
    ),
)


def chart_yaml() -> str:
    """Give what the Helm chart makes its KafkaTopic and KafkaUser resources from; equal tables give equal text."""
    document = {
        "topics": [{"name": each.name, "width": each.width, "config": each.config()} for each in TOPICS],
        "users": {each.process: each.acls() for each in ACCESS},
    }
    return _BANNER + yaml.safe_dump(document, sort_keys=False, width=120)
