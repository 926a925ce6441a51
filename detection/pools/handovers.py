"""Lane G: keys that follow one another. One is refused, and within the hour a new one goes on from the same place.

Stolen and bought keys are used until they are refused; the next in the list takes over, from the same network and with
the same settings. A place is such a pair of network and settings. It is watched from the first refusal of a key that
had worked. An account that was not seen there since *follows* the key that was refused last, if that one has not worked
again and nobody else follows it. A chain of ``links.component`` customers is told where two things come together:

- each of its keys but the last was refused, and works no more;
- newcomers come after refusals rather than at any time. Of n newcomers x came within ``links.handover_ms`` of a
  refusal, which was a share q of the time: where newcomers come regardless, that many do with the binomial's upper
  tail, and it must be ``links.handover_chance`` at most. A crowd behind one address has newcomers at all hours.

Everything is counted by hops, of one hop's rows together: their order changes nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detection.families import Family
from detection.ids import digest_hex, rfc3339, to_hex
from detection.linking import strength_of
from detection.outcomes import Evidence, Finding, Member
from detection.pools.hop import group_starts
from detection.state.bounds import outdated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from detection.columns import StructuredArray
    from detection.config import DetectionConfig

DETECTOR: Final = "key_handover"
HANDOVERS_KEY: Final = b"h"
_NAME: Final = Family.HANDOVER.name.lower()
_KEPT: Final = 64  # Keys of a place; the least recent go first.
_CROWD: Final = 256  # Accounts; where more have been seen, nothing is counted any more until the place is forgotten.
_MARK_SHIFT: Final = 32
_COUNTED: Final = ("requests", "errors", "rejected")


class Key(msgspec.Struct, array_like=True):
    """A key that was refused, or that followed one. Hops are -1 where there is none."""

    customer: int
    requests: int  # Seen here since it is known.
    last_hop: int
    refused: int = -1  # Hop in which it was refused first, while it has not worked again since.
    follows: int = 0  # The account before it; 0 for none.
    followed: bool = False
    verified: bool = False

    def take(self, seen: Key) -> None:
        """Add what was seen of it in one hop."""
        self.requests += seen.requests
        self.last_hop, self.verified = seen.last_hop, self.verified or seen.verified


class Place(msgspec.Struct, array_like=True):
    """A network with settings where a key was refused."""

    since: int
    last_hop: int
    newcomers: int = 0
    after_refusal: int = 0
    hot: int = 0  # Hops within reach of a refusal, those to come included,
    hot_until: int = -1  # and the last of them.
    keys: dict[int, Key] = {}  # By account.
    seen: list[int] = []  # Marks of all accounts that were here, ascending.

    @property
    def crowded(self) -> bool:
        """Whether so many accounts were here that who comes after whom says nothing."""
        return len(self.seen) > _CROWD

    def sees(self, mark: int) -> bool:
        """Note that an account was here; whether it is the first time."""
        at = bisect_left(self.seen, mark)
        new = at == len(self.seen) or self.seen[at] != mark
        if new:
            self.seen.insert(at, mark)
        return new

    def refuse(self, account: int, seen: Key, reach: int) -> None:
        """Note that a key was refused in the hop of ``seen``."""
        key = self.keys.get(account)
        if key is None:
            key = self.keys[account] = seen
        else:
            key.take(seen)
        if key.refused < 0:
            key.refused = seen.last_hop
            self.hot += seen.last_hop + reach - max(self.hot_until, seen.last_hop - 1)
            self.hot_until = seen.last_hop + reach

    def cut_off(self, account: int) -> None:
        """Forget a key that was refused and works again: nobody took over from it."""
        del self.keys[account]
        for key in self.keys.values():
            if key.follows == account:
                key.follows = 0

    def arrives(self, account: int, seen: Key, reach: int) -> bool:
        """Count a newcomer; whether it follows a key that was refused."""
        hop = seen.last_hop
        self.newcomers += 1
        self.after_refusal += hop <= self.hot_until
        left = [
            (one.refused, before)
            for before, one in self.keys.items()
            if one.refused >= hop - reach and not one.followed and one.customer != seen.customer
        ]
        if not left:
            return False
        key = self.keys.setdefault(account, seen)
        key.follows = max(left)[1]
        self.keys[key.follows].followed = True
        return True

    def trim(self) -> None:
        """Keep the newest keys."""
        for account in sorted(self.keys, key=lambda one: (-self.keys[one].last_hop, one))[_KEPT:]:
            del self.keys[account]

    def chance(self, hop: int) -> float:
        """Give the chance that so many newcomers follow refusals where they come at any time alike."""
        hot = self.hot - max(self.hot_until - hop, 0)
        share = min(hot / (hop - self.since + 1), 1.0)
        from scipy.special import betainc  # noqa: PLC0415  # half a second, and most partitions never see a chain

        # The binomial's upper tail.
        return float(betainc(self.after_refusal, self.newcomers - self.after_refusal + 1, share))

    def chain_to(self, account: int) -> list[int]:
        """Give an account and those that it follows, the newest first."""
        chain = [account]
        while (before := self.keys[chain[-1]].follows) and before in self.keys and before not in chain:
            chain.append(before)
        return chain


class Handovers:
    """The watched places of one partition. Pure; the same however the stream is cut."""

    def __init__(self, config: DetectionConfig) -> None:
        self._config = config
        self._lane = config.links
        self._reach = max(config.links.handover_ms // config.clocking.hop_ms, 1)
        self._places: dict[int, Place] = {}
        self._dirty: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._places)

    def close(self, hop: int, rows: StructuredArray) -> list[Finding]:
        """Take one hop's rows of all families; give a finding for each chain that grew, by place and account."""
        if not self._lane.enabled:
            return []
        self._forget(hop)
        mine = rows["family"] == int(Family.NETWORK_CONFIGURATION)
        refused = rows["pool"][mine & (rows["rejected"] > 0)]
        if not len(refused) and not self._places:
            return []
        crowds = [number for number, place in self._places.items() if place.crowded]
        watched = np.union1d(np.array(list(self._places), np.uint64), refused)
        told = _by_account(rows[mine & np.isin(rows["pool"], np.setdiff1d(watched, np.array(crowds, np.uint64)))])
        starts = group_starts(np.ascontiguousarray(told["pool"])) if len(told) else np.empty(0, np.int64)
        findings: list[Finding] = []
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(told)], strict=False):
            findings += self._at(hop, told[start:stop])
        return findings

    def dirty(self) -> tuple[list[bytes], list[bytes | None]]:
        """Give the changelog records since the last call: keys and values; None is a tombstone."""
        keys = [HANDOVERS_KEY + number.to_bytes(8, "big") for number in self._dirty]
        values = [_encoder.encode(self._places[number]) if number in self._places else None for number in self._dirty]
        self._dirty = {}
        return keys, values

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the newest records of ``dirty`` that are no tombstones."""
        self._places = {int.from_bytes(key[1:], "big"): _decoder.decode(value) for key, value in sorted(records)}

    def _at(self, hop: int, rows: StructuredArray) -> list[Finding]:
        """Take what happened at one place: first who was refused or works again, then who is new."""
        number = int(rows["pool"][0])
        place = self._places.get(number)
        first = place is None
        place = place or Place(hop, hop)
        newcomers: list[tuple[int, Key]] = []
        for row in rows:
            account, mark = int(row["account"]), int(row["account"]) >> _MARK_SHIFT
            seen = Key(int(row["customer"]), int(row["requests"]), hop, verified=bool(row["verified"]))
            works = seen.requests > int(row["errors"])
            unused = int(row["account_requests_before"]) == 0
            known = place.keys.get(account)
            if works and known is not None and 0 <= known.refused < hop:
                place.cut_off(account)
            # Who comes in the very hop in which the watch begins may have been here before.
            if place.sees(mark) and works and (unused or not first):
                newcomers.append((account, seen))
            if int(row["rejected"]) and (works or not unused):
                place.refuse(account, seen, self._reach)
            elif known is not None and account in place.keys:
                place.keys[account].take(seen)
        if first and not place.keys:
            return []
        self._places[number] = place
        self._dirty[number] = None
        place.last_hop = hop
        findings = [
            finding
            for account, key in newcomers
            if place.arrives(account, key, self._reach)
            and (finding := self._chain(number, place, hop, account)) is not None
        ]
        place.trim()
        return findings

    def _chain(self, number: int, place: Place, hop: int, account: int) -> Finding | None:
        chain = place.chain_to(account)
        customers = {place.keys[one].customer for one in chain}
        if place.crowded or len(customers) < self._lane.component or place.chance(hop) > self._lane.handover_chance:
            return None
        return self._finding(number, place, hop, chain)

    def _finding(self, number: int, place: Place, hop: int, chain: Sequence[int]) -> Finding:
        links, least = len(chain) - 1, self._lane.component - 1
        strength = strength_of(links - least)
        time = rfc3339((hop + 1) * self._config.clocking.hop_ms)
        keys = [place.keys[account] for account in chain]
        members = [
            Member(
                account=to_hex(account),
                customer=to_hex(key.customer),
                requests=key.requests,
                strength=strength,
                since=time,
            )
            for account, key in sorted(zip(chain, keys, strict=True))
        ]
        requests = sum(key.requests for key in keys)
        verified = sum(key.requests * key.verified for key in keys)
        return Finding(
            finding_id=digest_hex(DETECTOR, to_hex(number), to_hex(chain[0]), hop, self._config.version),
            lane="link",
            detector=DETECTOR,
            family=_NAME,
            subject=to_hex(number),
            hop=hop,
            event_time=time,
            score=float(links),
            threshold=float(least),
            customers=len({key.customer for key in keys}),
            requests=requests,
            verified_share=round(verified / requests, 4),
            young_share=0.0,
            evidence=[Evidence(feature="handovers", actual=float(links), expected=0.0, weight=float(links))],
            members=members,
            config_version=self._config.version,
        )

    def _forget(self, hop: int) -> None:
        limit = hop - self._lane.window_ms // self._config.clocking.hop_ms
        last = {number: place.last_hop for number, place in self._places.items()}
        for number in outdated(last, limit, self._lane.maximum_watched):
            del self._places[number]
            self._dirty[number] = None


def _by_account(rows: StructuredArray) -> StructuredArray:
    """Merge rows of one hop to one for each place and account, sorted."""
    if not len(rows):
        return rows
    rows = rows[np.lexsort((rows["account"], rows["pool"]))]
    starts = group_starts(np.ascontiguousarray(rows["pool"]), np.ascontiguousarray(rows["account"]))
    merged = rows[starts]
    for name in _COUNTED:
        merged[name] = np.add.reduceat(rows[name], starts)
    for name in ("customer", "verified"):
        merged[name] = np.maximum.reduceat(rows[name], starts)
    merged["account_requests_before"] = np.minimum.reduceat(rows["account_requests_before"], starts)
    return merged


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Place)
