"""The parts of `stillwatch up`.

One table of what runs on one machine, in which order, and how each is asked whether it is ready.

Every worker answers `/livez`, `/readyz` and `/metrics` on a port of its own, which it reads from
STILLWATCH_METRICS_PORT.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.adapters.embedded import EmbeddedKafka, EmbeddedPostgres
from services.adapters.embedded.ports import LOOPBACK, reserve
from services.errors import StillwatchError
from services.supervisor.part import Part, RestartPolicy
from services.supervisor.probes import asking, readyz

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KAFKA = "kafka"
POSTGRES = "postgres"
API = "api"
SIMULATOR = "simulator"
KAFKA_PORT = 9092
POSTGRES_PORT = 5432
API_PORT = 8080
FIRST_METRICS_PORT = 9101
# The first start fetches 45 MB of jars, by whatever connection there is.
# A store that is busy may answer late; to kill it costs everybody a recovery.
KAFKA_START = RestartPolicy(start_timeout=600.0, hang_timeout=300.0)
# Recovery after a crash replays the log before the first login.
POSTGRES_START = RestartPolicy(start_timeout=300.0, hang_timeout=300.0)
# Workers load their state from the changelog before they say ready.
WORKER_START = RestartPolicy(start_timeout=300.0)
TASK = RestartPolicy(first_delay=1.0, max_attempts=5, start_timeout=120.0)

# Name, command, and what must be ready before it. Nobody waits for what it does not use: most of a start is imports.
TOPICS = "topics"
MIGRATE = "migrate"
TASKS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (TOPICS, ("-m", "services.cli.main", "topics", "apply"), (KAFKA,)),
    (MIGRATE, ("-m", "services.cli.main", "migrate"), (POSTGRES,)),
)
WORKERS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("accounts", ("-m", "stream_jobs.accounts"), (TOPICS,)),
    ("pools", ("-m", "stream_jobs.pools"), (TOPICS,)),
    ("incidents", ("-m", "stream_jobs.incidents"), (TOPICS,)),
    ("normalise", ("-m", "services.cli.main", "worker", "normalise"), (TOPICS,)),
    ("learning", ("-m", "stream_jobs.learning"), (TOPICS,)),
    ("decisions", ("-m", "services.decisions"), (TOPICS, MIGRATE)),
    ("subscribers", ("-m", "services.subscribers"), (TOPICS, MIGRATE)),
    ("alert-sink", ("-m", "services.alert_sink"), (TOPICS, MIGRATE)),
    ("relay", ("-m", "services.alert_sink.relay"), (TOPICS, MIGRATE)),
    (API, ("-m", "services.console"), (TOPICS, MIGRATE)),
)
# Jobs whose partitions several workers can share.
SHARED: tuple[str, ...] = ("accounts", "pools")


class UnsharedJobError(StillwatchError):
    """Several workers are wanted of a job that is one process."""

    exit_code = 2


@dataclass(frozen=True)
class Plan:
    """What one `stillwatch up` runs: where everything listens, and the parts."""

    kafka_bootstrap_servers: str
    database_url: str
    api_url: str
    parts: tuple[Part, ...]


def plan(
    base_dir: Path,
    *,
    kafka_bootstrap_servers: str | None = None,
    database_url: str | None = None,
    simulate: str | None = None,
    rate: float | None = None,
    log_format: str = "auto",
    workers: Mapping[str, int] | None = None,
) -> Plan:
    """Choose the ports and build the table; an address that is given means that its embedded service is left out.

    ``workers`` says of how many processes a job is made, 1 where it says nothing: the second is the part NAME-1, and so
    on. Raises UnsharedJobError for a job that is not in ``SHARED``, and HalfWrittenError when an embedded service's
    data cannot be used; both before anything starts.
    """
    unshared = sorted(set(workers or {}) - set(SHARED))
    if unshared:
        raise UnsharedJobError(
            f"{', '.join(unshared)} cannot have several workers.", hint=f"These can: {', '.join(SHARED)}."
        )
    parts: list[Part] = []
    if kafka_bootstrap_servers is None:
        kafka = EmbeddedKafka(base_dir, preferred_port=KAFKA_PORT)
        kafka.complete()
        kafka.assign_ports()
        kafka_bootstrap_servers = kafka.bootstrap_servers
        parts.append(_store(kafka, "the broker does not answer yet", KAFKA_START))
    if database_url is None:
        postgres = EmbeddedPostgres(base_dir, preferred_port=POSTGRES_PORT)
        postgres.complete()
        postgres.assign_ports()
        database_url = postgres.url
        parts.append(_store(postgres, "the database accepts no login yet", POSTGRES_START))
    stores = tuple(part.name for part in parts)
    taken = {port for part in parts for port in part.ports.values()}
    api_port = reserve(API_PORT, taken=taken)
    taken.add(api_port)
    env = {
        "STILLWATCH_BASE_DIR": str(base_dir.absolute()),
        "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "STILLWATCH_DATABASE_URL": database_url,
        "STILLWATCH_API_PORT": str(api_port),
        "STILLWATCH_LOG_FORMAT": log_format,
        "PYTHONUNBUFFERED": "1",
    }
    # A store that runs elsewhere is not a part, and is taken to be there.
    parts += [_task(name, command, env, tuple(set(after) & set(stores))) for name, command, after in TASKS]
    named = []
    for name, command, after in WORKERS:
        for index in range((workers or {}).get(name, 1)):
            named.append(f"{name}-{index}" if index else name)
            indexed = env | {"STILLWATCH_WORKER_INDEX": str(index)}
            parts.append(_worker(named[-1], command, indexed, after, taken, api_port))
    if simulate is not None:
        command = ("-m", "services.cli.main", "simulate", "--scenario", simulate)
        command += ("--rate", f"{rate:g}") if rate is not None else ()
        parts.append(_simulator(command, env, tuple(named), _metrics_port(taken)))
    return Plan(kafka_bootstrap_servers, database_url, f"http://{LOOPBACK}:{api_port}", tuple(parts))


def _embedded(server: EmbeddedKafka | EmbeddedPostgres) -> list[str]:
    return [sys.executable, "-m", "services.adapters.embedded", server.name, str(server.base_dir), str(server.port)]


def _store(server: EmbeddedKafka | EmbeddedPostgres, otherwise: str, restart: RestartPolicy) -> Part:
    return Part(
        server.name,
        _embedded(server),
        ready=asking(server.ready, otherwise),
        stop_timeout=30.0,
        stop_signal=server.stop_signal,
        death_signal=server.death_signal,
        restart=restart,
        ports=server.ports,
    )


def _task(name: str, command: tuple[str, ...], env: Mapping[str, str], after: tuple[str, ...]) -> Part:
    return Part(name, [sys.executable, *command], env=env, after=after, task=True, restart=TASK)


def _worker(
    name: str, command: tuple[str, ...], env: Mapping[str, str], after: tuple[str, ...], taken: set[int], api_port: int
) -> Part:
    port = _metrics_port(taken)
    ports = {"metrics": port, **({"http": api_port} if name == API else {})}
    return Part(
        name,
        [sys.executable, *command],
        env={**env, "STILLWATCH_METRICS_PORT": str(port)},
        ready=readyz(port),
        after=after,
        restart=WORKER_START,
        ports=ports,
    )


def _simulator(command: tuple[str, ...], env: Mapping[str, str], after: tuple[str, ...], port: int) -> Part:
    env = {**env, "STILLWATCH_METRICS_PORT": str(port)}
    return Part(SIMULATOR, [sys.executable, *command], env=env, after=after, may_end=True, ports={"metrics": port})


def _metrics_port(taken: set[int]) -> int:
    """Choose the next metrics port and add it to those taken."""
    port = reserve(next(port for port in range(FIRST_METRICS_PORT, 2**16) if port not in taken), taken=taken)
    taken.add(port)
    return port
