"""An incidents step of a dozen lines with every trait that matters: buffered hops, revisions, a budget over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from detection.ids import digest_hex, rfc3339
from detection.outcomes import Alert, FindingReference

if TYPE_CHECKING:
    from detection.outcomes import Finding
    from schemas.entitlement import Entitlement


class ToyStep:
    """One incident for each subject; a revision for each closed hop with findings; every fifth revision is withheld."""

    def __init__(self, partitions: int) -> None:
        self._clocks = {f"{job}-{part}": -1 for job in ("accounts", "pools") for part in range(partitions)}
        self._buffer: dict[int, list[Finding]] = {}
        self._revisions: dict[str, int] = {}
        self._raised = 0
        self._due: list[Alert] = []
        self._entitled: set[str] = set()

    @property
    def closed_hop(self) -> int:
        return min(self._clocks.values())

    def add(self, finding: Finding) -> None:
        self._buffer.setdefault(finding.hop, []).append(finding)

    def closed(self, job: str, partition: int, hop: int) -> None:
        self._clocks[f"{job}-{partition}"] = max(hop, self._clocks[f"{job}-{partition}"])
        for due in sorted(hop for hop in self._buffer if hop <= self.closed_hop):
            for finding in sorted(self._buffer.pop(due), key=lambda finding: finding.finding_id):
                self._raise(finding)

    def entitle(self, entitlement: Entitlement) -> None:
        if entitlement.valid_until_unix_ms:
            self._entitled.add(entitlement.subject)
        else:
            self._entitled.discard(entitlement.subject)

    def take(self) -> list[Alert]:
        due, self._due = self._due, []
        return due

    def state(self) -> bytes:
        return msgspec.json.encode([self._clocks, self._buffer, self._revisions, self._raised])

    def load(self, raw: bytes) -> None:
        from detection.outcomes import Finding

        shape = tuple[dict[str, int], dict[int, list[Finding]], dict[str, int], int]
        self._clocks, self._buffer, self._revisions, self._raised = msgspec.json.decode(raw, type=shape)

    def _raise(self, finding: Finding) -> None:
        self._raised += 1
        if self._raised % 5 == 0 or finding.subject in self._entitled:
            return
        revision = self._revisions[finding.subject] = self._revisions.get(finding.subject, 0) + 1
        reference = FindingReference(
            finding_id=finding.finding_id,
            lane=finding.lane,
            detector=finding.detector,
            family=finding.family,
            subject=finding.subject,
            hop=finding.hop,
            score=finding.score,
            customers=finding.customers,
            requests=finding.requests,
        )
        self._due.append(
            Alert(
                alert_id=digest_hex("alert", finding.subject),
                revision=revision,
                kind="alert",
                lane=finding.lane,
                subject_kind="account",
                subject=finding.subject,
                event_time=finding.event_time,
                updated_time=rfc3339(finding.hop * 900_000),
                score=finding.score + self._raised,
                severity="high",
                confidence=0.5,
                title="toy",
                requests=finding.requests,
                contributions=finding.evidence,
                members=finding.members,
                findings=[reference],
                config_version=finding.config_version,
            )
        )
