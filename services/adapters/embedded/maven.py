"""Jars from Maven Central through jgo, as the machine's jgo configuration says (repositories, cache)."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

from services.adapters.embedded.jars import Jar, JarError, digest

DOWNLOAD_SECONDS = 60
# What the broker needs at run time, with all that these ask for.
ROOTS = ("org.apache.kafka:kafka_2.13:4.3.1", "org.slf4j:slf4j-simple:1.7.36")
# The broker's own console tools, alone: what else that project asks for serves Kafka Connect only.
TOOLS = ("org.apache.kafka:kafka-tools:4.3.1",)


class JgoFetcher:
    """Implements `jars.Fetcher`; importing jgo takes 0.4 s, so construct one only when a jar is missing."""

    def __init__(self) -> None:
        try:
            from jgo.config import GlobalSettings  # noqa: PLC0415  # an optional extra that a warm start does without
            from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415  # as above
            from jgo.maven import MavenContext  # noqa: PLC0415  # as above
        except ModuleNotFoundError as error:
            raise JarError(
                "The embedded Kafka needs jgo.", hint="Install Stillwatch with its `embedded` extra."
            ) from error
        trust_the_machine()
        settings = GlobalSettings.load()
        self._context: Any = MavenContext(
            repo_cache=settings.repo_cache,
            remote_repos={"central": MAVEN_CENTRAL_URL, **settings.repositories},
            timeout=DOWNLOAD_SECONDS,
        )

    def fetch(self, coordinate: str) -> Path:
        """Return the jar's path in jgo's cache, downloading it when it is not there."""
        try:
            return Path(self._artifact(coordinate).resolve())
        except (RuntimeError, OSError) as error:
            # A download that broke off leaves its first part in the cache.
            self.discard(coordinate)
            raise JarError(
                f"The jar {coordinate} could not be fetched ({type(error).__name__}).",
                hint="The first start needs Maven Central, later ones need no network. Look at the connection.",
            ) from error

    def discard(self, coordinate: str) -> None:
        """Delete the cached copy, if any."""
        Path(self._artifact(coordinate).cached_path).unlink(missing_ok=True)

    def lock_path(self) -> Path:
        """Return a file in jgo's cache whose lock serialises those who fill it."""
        return Path(self._context.repo_cache) / ".stillwatch.lock"

    def resolve(self) -> list[str]:
        """Return the coordinates of all that the broker and its console tools need, sorted; asks Maven Central."""
        dependencies = [self._context.create_dependency(f"{root}:compile") for root in ROOTS]
        direct, transitive = self._context.resolver.resolve(dependencies)
        needed = [*direct, *(found for found in transitive if found.scope in {"compile", "runtime"})]
        return sorted({f"{d.groupId}:{d.artifactId}:{d.version}" for d in needed} | set(TOOLS))

    def _artifact(self, coordinate: str) -> Any:
        group, artifact, version = coordinate.split(":")
        return self._context.project(group, artifact).at_version(version).artifact()


def trust_the_machine() -> None:
    """Have requests believe the certificates that the machine believes, unless somebody named a bundle.

    requests knows certifi's alone; behind a company's proxy the machine's own store holds one more.
    """
    store = ssl.get_default_verify_paths().cafile
    if store and not any(os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")):
        os.environ["REQUESTS_CA_BUNDLE"] = store


def lock(fetcher: JgoFetcher) -> list[Jar]:
    """Resolve the broker anew and hash every jar as fetched."""
    return [Jar(coordinate=coordinate, sha256=digest(fetcher.fetch(coordinate))) for coordinate in fetcher.resolve()]
