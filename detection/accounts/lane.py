"""The account lane: an account is compared with honest accounts at the very request that completes a milestone.

Two questions are asked of it: how odd it is in all (``DirectionalTail``), and whether it pursues one purpose more than
anybody honest does (``detection.accounts.purposes``). The louder answer speaks; both have the threshold's unit.

The row is read between that request and the account's next one, so the vector is that of exactly 40, 80, ... requests
however many came in one hop, and however the stream was cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.accounts import purposes
from detection.accounts.purposes import Purposes
from detection.detectors.tail import DirectionalTail, certainty
from detection.features.accounts import NAMES, account_features
from detection.ids import digest_hex, rfc3339, to_hex
from detection.outcomes import Evidence, Finding, Member
from detection.ranking.exploring import as_draw, drawn
from detection.state.records import take

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detection.columns import Float64Array, Int64Array, StructuredArray, UInt64Array
    from detection.config import DetectionConfig
    from detection.detectors.reference import References

DETECTOR: Final = "account_tail"
_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class MilestoneVectors:
    """Feature vectors of accounts at one milestone, for building references: rows in the order of ``accounts``."""

    milestone: int
    accounts: UInt64Array
    customers: UInt64Array
    hops: Int64Array
    matrix: Float64Array  # Columns as detection.features.accounts.NAMES.


class MilestoneLane:
    """Finds accounts at their milestones and scores them against ``references``.

    Those of the count speak, else those of the next lower one that is known: few honest accounts come as far as the
    high counts, and no feature grows with the count.

    With ``collect`` every milestone of the configuration is read and its vectors are kept until taken.
    """

    def __init__(self, config: DetectionConfig, references: References | None, *, collect: bool) -> None:
        lane = config.accounts
        known = {} if references is None else references.accounts
        self._config = config
        self._provisional = references is not None and references.provisional
        self._tails = {
            milestone: DirectionalTail(known[nearest])
            for milestone in lane.milestones
            if milestone >= lane.alert_floor
            and lane.enabled
            and (nearest := max((count for count in known if count <= milestone), default=0))
        }
        self._columns = {
            milestone: [NAMES.index(name) for name in tail.reference.names] for milestone, tail in self._tails.items()
        }
        self._purposes = {milestone: Purposes(tail.reference) for milestone, tail in self._tails.items()}
        self._bound = -math.log(lane.purpose_alarms)
        self._prior = -math.log(lane.kindred_share)
        self._collect = collect
        read = lane.milestones if collect else tuple(self._tails)
        self._is_milestone = np.zeros(max(read, default=0) + 2, np.bool_)
        self._is_milestone[list(read)] = True
        self._findings: list[Finding] = []
        self._vectors: list[MilestoneVectors] = []

    @property
    def is_milestone(self) -> NDArray[np.bool_]:
        """Tell by an account's count whether it is read; the last place stands for all higher counts."""
        return self._is_milestone

    def read(
        self, rows: StructuredArray, hops: Int64Array, counts: Int64Array, customers: UInt64Array, settings: UInt64Array
    ) -> None:
        """Score accounts at their milestones: their rows as they were at that request, in the order of requests.

        ``settings`` are the configurations of those requests, 0 where none was known.
        """
        for milestone in np.unique(counts).tolist():
            at = np.flatnonzero(counts == milestone)
            self._score(take(rows, at), hops[at], customers[at], settings[at], milestone)

    def _score(
        self, rows: StructuredArray, hops: Int64Array, customers: UInt64Array, settings: UInt64Array, milestone: int
    ) -> None:
        matrix = account_features(rows)
        if self._collect:
            accounts = np.ascontiguousarray(rows["account"])
            self._vectors.append(MilestoneVectors(milestone, accounts, customers, hops, matrix))
        tail = self._tails.get(milestone)
        if tail is None:
            return
        chosen = matrix[:, self._columns[milestone]]
        scores, addends = tail.score_many(chosen)
        threshold = self._config.accounts.threshold
        pursued = self._purposes[milestone]
        nats = pursued.evidence(chosen, rows["requests"].astype(np.float64) - rows["text_unavailable"])
        purposeful = nats.max(axis=1, initial=0.0) / self._bound * threshold
        for place in np.flatnonzero((nats > self._prior).any(axis=1) & (settings > 0)).tolist():
            fact = _pursued(pursued, chosen[place], np.where(nats[place] > self._prior, nats[place], 0.0))
            self._findings.append(
                self._fact(rows[place], int(customers[place]), int(hops[place]), int(settings[place]), fact)
            )
        odd = np.round(np.maximum(scores, purposeful), _DIGITS) > threshold
        share = self._config.exploration.share
        for place in np.flatnonzero(odd | drawn(rows["account"], share)).tolist():
            if purposeful[place] > max(scores[place], threshold):
                detector, score = purposes.DETECTOR, float(purposeful[place])
                weights = nats[place] / self._bound * threshold
                evidence = _pursued(pursued, chosen[place], weights)
            else:
                detector, score = DETECTOR, float(scores[place])
                evidence = _evidence(tail, chosen[place], addends[place])
            score = round(score, _DIGITS)
            finding = self._finding(detector, rows[place], int(customers[place]), int(hops[place]), score, evidence)
            self._findings.append(finding if odd[place] else as_draw(finding, share))

    def _finding(
        self, detector: str, row: StructuredArray, customer: int, hop: int, score: float, evidence: list[Evidence]
    ) -> Finding:
        return self._told(detector, row, customer, hop, to_hex(int(row["account"])), score, evidence)

    def _fact(self, row: StructuredArray, customer: int, hop: int, settings: int, evidence: list[Evidence]) -> Finding:
        """Tell what an account pursues, for those with the same settings: no suspicion by itself."""
        return self._told(purposes.PURSUED, row, customer, hop, to_hex(settings), 0.0, evidence)

    def _told(
        self,
        detector: str,
        row: StructuredArray,
        customer: int,
        hop: int,
        subject: str,
        score: float,
        evidence: list[Evidence],
    ) -> Finding:
        account = to_hex(int(row["account"]))
        requests = int(row["requests"])
        threshold = self._config.accounts.threshold
        hop_end = rfc3339((hop + 1) * self._config.clocking.hop_ms)
        member = Member(
            account=account,
            customer=to_hex(customer),
            requests=requests,
            strength=round(certainty(score, threshold), _DIGITS),
            since=hop_end,
        )
        return Finding(
            finding_id=digest_hex(detector, account, requests, self._config.version),
            lane="account",
            detector=detector,
            family="",
            subject=subject,
            hop=hop,
            event_time=hop_end,
            score=score,
            threshold=threshold,
            customers=1,
            requests=requests,
            verified_share=float(row["verified"]),
            young_share=round(int(row["young"]) / requests, _DIGITS),
            evidence=evidence,
            members=[member],
            config_version=self._config.version,
            provisional=self._provisional,
        )

    def take(self) -> tuple[list[Finding], list[MilestoneVectors]]:
        """Give what was found since the last call, findings by hop, account and count."""
        findings, vectors = self._findings, self._vectors
        self._findings, self._vectors = [], []
        findings.sort(key=lambda finding: (finding.hop, finding.members[0].account, finding.requests, finding.detector))
        return findings, vectors


def _evidence(tail: DirectionalTail, values: Float64Array, addends: Float64Array) -> list[Evidence]:
    """Tell the features that added something, the heaviest first."""
    reference = tail.reference
    told = [
        Evidence(
            feature=name,
            actual=round(float(value), _DIGITS),
            expected=round(reference.expected(name), _DIGITS),
            weight=round(float(addend), _DIGITS),
        )
        for name, value, addend in zip(reference.names, values, addends, strict=True)
        if addend > 0
    ]
    return sorted(told, key=lambda one: (-one.weight, one.feature))


def _pursued(pursued: Purposes, values: Float64Array, weights: Float64Array) -> list[Evidence]:
    """Tell the purposes that are evidence, the heaviest first; expected is the most that anybody honest did."""
    told = [
        Evidence(
            feature=name,
            actual=round(float(values[place]), _DIGITS),
            expected=round(float(most), _DIGITS),
            weight=round(float(weight), _DIGITS),
        )
        for name, place, most, weight in zip(pursued.names, pursued.places, pursued.most_honest, weights, strict=True)
        if weight > 0
    ]
    return sorted(told, key=lambda one: (-one.weight, one.feature))
