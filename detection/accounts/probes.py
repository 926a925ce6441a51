"""Lane B: an account that tries logit_bias vectors on calls that ask for log probabilities and hardly any text.

Reading a model's log probabilities under many biases recovers its logits, and from enough of them its last layer
(Carlini et al. 2024). Nobody else needs many vectors: an application has one, or a few. They are counted exactly, for
each account in the order of its requests; it is found at the very request that brings the last of ``vectors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detection.columns import Flag
from detection.ids import digest_hex, rfc3339, to_hex
from detection.outcomes import Evidence, Finding, Member
from detection.state.bounds import outdated

if TYPE_CHECKING:
    from detection.columns import Int64Array, StructuredArray
    from detection.config import DetectionConfig

DETECTOR: Final = "bias_probe"
STRENGTH: Final = 0.95
_ASKED: Final = int(Flag.LOGPROBS)


class _Probing(msgspec.Struct):
    """One account. ``vectors`` holds the first distinct ones, as many as it takes."""

    vectors: list[int]
    requests: int
    last_hop: int
    found: bool = False


class ProbeCounter:
    """The accounts of one partition that have sent such a call. Pure; the same however the stream is cut."""

    def __init__(self, config: DetectionConfig) -> None:
        self._config = config
        self._accounts: dict[int, _Probing] = {}
        self._findings: list[Finding] = []
        self.changed = False

    def __len__(self) -> int:
        return len(self._accounts)

    def asking(self, events: StructuredArray) -> Int64Array:
        """Find the requests that are such a call."""
        lane = self._config.probes
        probing = (events["bias"] > 0) & ((events["flags"] & _ASKED) > 0)
        probing &= events["output_tokens"] <= lane.output_tokens
        return np.flatnonzero(probing & lane.enabled)

    def count(self, events: StructuredArray, counted: StructuredArray) -> None:
        """Take such calls in their order (``EVENT``), and what they meant for their accounts (``SINGLE``)."""
        lane = self._config.probes
        for place in range(len(events)):
            account, bias = int(events["account"][place]), int(events["bias"][place])
            hop = int(counted["hop"][place])
            seen = self._accounts.get(account)
            if seen is None:
                seen = self._accounts[account] = _Probing([], 0, hop)
            seen.requests += 1
            seen.last_hop = max(seen.last_hop, hop)
            if not seen.found and bias not in seen.vectors:
                seen.vectors.append(bias)
                if len(seen.vectors) == lane.vectors:
                    seen.found = True
                    self._findings.append(self._finding(events[place], counted[place], seen.requests))
            self.changed = True

    def close(self, hop: int) -> None:
        """Forget who is idle at ``hop``, and the least recent above the limit."""
        lane = self._config.probes
        limit = hop - lane.idle_ms // self._config.clocking.hop_ms
        last = {account: seen.last_hop for account, seen in self._accounts.items()}
        gone = outdated(last, limit, lane.maximum_accounts)
        for account in gone:
            del self._accounts[account]
        self.changed |= bool(gone)

    def take(self) -> list[Finding]:
        """Give what was found since the last call, by hop and account."""
        findings, self._findings = self._findings, []
        return sorted(findings, key=lambda finding: (finding.hop, finding.finding_id))

    def dump(self) -> bytes:
        """Write the whole state; equal states give equal bytes."""
        return _encoder.encode(dict(sorted(self._accounts.items())))

    def load(self, raw: bytes) -> None:
        """Take what ``dump`` wrote; raises msgspec.DecodeError or msgspec.ValidationError."""
        self._accounts = _decoder.decode(raw)

    def _finding(self, event: StructuredArray, counted: StructuredArray, requests: int) -> Finding:
        lane = self._config.probes
        account, hop = to_hex(int(event["account"])), int(counted["hop"])
        # Accounts that probe with the same settings are one incident, so the settings are the subject.
        subject = to_hex(int(event["configuration"]))
        hop_end = rfc3339((hop + 1) * self._config.clocking.hop_ms)
        member = Member(
            account=account,
            customer=to_hex(int(counted["customer"])),
            requests=requests,
            strength=STRENGTH,
            since=hop_end,
        )
        return Finding(
            finding_id=digest_hex(DETECTOR, account, self._config.version),
            lane="probe",
            detector=DETECTOR,
            family="",
            subject=subject,
            hop=hop,
            event_time=hop_end,
            score=float(lane.vectors),
            threshold=float(lane.vectors),
            customers=1,
            requests=requests,
            verified_share=float(counted["verified"]),
            young_share=float(int(counted["bits"]) & 1),
            evidence=[
                Evidence(feature="bias_vectors", actual=float(lane.vectors), expected=1.0, weight=float(lane.vectors))
            ],
            members=[member],
            config_version=self._config.version,
        )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[int, _Probing])
