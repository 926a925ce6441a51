"""What must be there, said from the source log alone, twice.

``Reference`` runs the detection steps over the log without an engine: each partition in one life, cut at random places.
Its rows, findings and windows are compared byte by byte. ``PlainCounts`` knows neither the steps nor the columns: JSON,
dicts and Python's integers; it says how often each account was counted, when, and in which pools.
"""

from __future__ import annotations

import base64
import json
import struct
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detection.accounts.step import AccountsStep
from detection.families import Family
from detection.ids import to_hex
from detection.outcomes import Finding, SourceClosed
from detection.pools.routing import split_rows
from detection.pools.step import PoolsStep
from detection.state.rows import read_rows
from schemas.columns import decode_attributes, decode_events, decode_heartbeat
from schemas.contributions import decode_block
from schemas.finding import decode_finding, encode_finding
from schemas.topics import (
    ACCOUNT_ATTRIBUTES,
    ACCOUNT_WINDOWS,
    ACCOUNTS_STATE,
    DEAD_LETTERS,
    FINDINGS,
    POOL_CONTRIBUTIONS,
    POOLS_STATE,
    REQUESTS,
)
from services.bootstrap import load_references
from services.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from tests.crash.cell import Cell, Record

META: Final = b"\x00engine.meta"
_LONGEST_CUT: Final = 600
# Families whose pool is one value of the record, so that anybody can say who is in one.
_BY_RUNG: Final = {Family.SYSTEM: 0, Family.PREFIX_8: 1, Family.PREFIX_16: 2, Family.PREFIX_32: 3, Family.SUFFIX_8: 5}
_BY_FIELD: Final = {Family.NETWORK: "client_network", Family.ADDRESS: "client_address"}
_WINDOW_COUNTS: Final = ("requests", "input_tokens", "output_tokens", "errors", "late")


@dataclass
class Verdict:
    """Differences between what committed readers see and what must be there. ``examples`` are for the reader."""

    lost: int = 0
    wrong: int = 0
    duplicates: int = 0
    compared: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        return not (self.lost or self.wrong or self.duplicates)

    def outputs(self, name: str, want: Counter[Any], seen: Counter[Any]) -> None:
        """Compare outputs of which each must be there as often as it is wanted."""
        self.compared[name] = sum(want.values())
        for what, count in (want - seen).items():
            self.lost += count
            self._note(f"{name}: lost {what!r:.300}")
        for what, count in (seen - want).items():
            if what in want:
                self.duplicates += count
                self._note(f"{name}: {count} too many of {what!r:.300}")
            else:
                self.wrong += count
                self._note(f"{name}: unwanted {what!r:.300}")

    def values(self, name: str, want: dict[Any, Any], seen: dict[Any, Any]) -> None:
        """Compare what has one value for each key."""
        self.compared[name] = len(want)
        for key in want.keys() | seen.keys():
            if key not in seen:
                self.lost += 1
                self._note(f"{name}: no {key!r:.200}")
            elif want.get(key) != seen[key]:
                self.wrong += 1
                self._note(f"{name}: {key!r:.200} is {seen[key]!r:.300}, not {want.get(key)!r:.300}")

    def _note(self, text: str) -> None:
        if len(self.examples) < 20:
            self.examples.append(text)


def shipped_references() -> References:
    """Give what the product ships, for the real feature set."""
    references = load_references(Settings())
    if references is None:
        raise FileNotFoundError("the shipped references are not there")
    return references


def judge(cell: Cell, references: References, dice: Random) -> Verdict:
    """Read everything from the broker, and compare."""
    verdict = Verdict()
    requests, attributes = cell.read(REQUESTS.name), cell.read(ACCOUNT_ATTRIBUTES.name)
    reference = Reference(cell, references, requests, attributes, dice)
    plain = PlainCounts(requests, cell.config)

    told = [(record.offset, decode_finding(record.value)) for record in cell.read(FINDINGS.name)]
    findings = Counter(encode_finding(found) for _, found in told if isinstance(found, Finding))
    verdict.outputs("findings", reference.findings, findings)
    _judge_closed(verdict, [found for _, found in told if isinstance(found, SourceClosed)], reference)

    windows = [json.loads(record.value) for record in cell.read(ACCOUNT_WINDOWS.name)]
    named = Counter((window["account"], window["hop"]) for window in windows)
    verdict.outputs("windows", Counter(dict.fromkeys(plain.closed_windows(), 1)), named)
    counts = {(w["account"], w["hop"]): tuple(w.get(name, 0) for name in _WINDOW_COUNTS) for w in windows}
    verdict.values("window_counts", plain.closed_windows(), counts)
    verdict.outputs("window_scores", reference.scores, Counter((w["account"], w["hop"], w["score"]) for w in windows))

    letters = [json.loads(record.value) for record in cell.read(DEAD_LETTERS.name)]
    places = Counter((letter["topic"], letter["partition"], letter["offset"]) for letter in letters)
    verdict.outputs("dead_letters", plain.rejected, places)

    blocks = [decode_block(record.value).array() for record in cell.read(POOL_CONTRIBUTIONS.name)]
    verdict.values("contributions", plain.contributions(), _contributed(blocks))

    accounts = stored(cell.read(ACCOUNTS_STATE.name))
    verdict.values("account_rows", reference.account_rows, accounts)
    verdict.values("account_totals", dict(plain.totals), account_totals(accounts))
    verdict.values("pool_rows", reference.pool_rows, stored(cell.read(POOLS_STATE.name)))
    return verdict


def _judge_closed(verdict: Verdict, records: Sequence[SourceClosed], reference: Reference) -> None:
    """Each source tells of a closed hop once, upwards, and at last of the hop that the log has closed."""
    newest: dict[tuple[str, int], int] = {}
    for record in records:
        before = newest.get((record.job, record.partition), -1)
        verdict.duplicates += record.hop == before
        verdict.wrong += record.hop < before
        newest[record.job, record.partition] = record.hop
    verdict.values("closed_hops", reference.closed, newest)


def stored(records: Iterable[Record]) -> dict[tuple[int, bytes], bytes]:
    """Give the newest value of each row, without the deleted ones and the engine's own."""
    newest = {(record.partition, record.key or b""): record.value for record in records}
    return {place: value for place, value in newest.items() if place[1] != META and value}


def account_totals(rows: dict[tuple[int, bytes], bytes]) -> dict[str, int]:
    """Give the requests of each account that has any, from its row."""
    read = read_rows([value for (_, key), value in rows.items() if len(key) == 16])
    return {to_hex(int(row["account"])): int(row["requests"]) for row in read if row["requests"]}


def _contributed(blocks: Sequence[Any]) -> dict[tuple[int, int, str], int]:
    sums: Counter[tuple[int, int, str]] = Counter()
    wanted = {int(family) for family in (*_BY_RUNG, *_BY_FIELD)}
    for block in blocks:
        part = block[np.isin(block["family"], list(wanted))]
        for hop, family, account, requests in zip(
            *(part[name].tolist() for name in ("hop", "family", "account", "requests")), strict=True
        ):
            sums[hop, family, to_hex(account)] += requests
    return dict(sums)


class Reference:
    """Both steps over the log."""

    def __init__(
        self,
        cell: Cell,
        references: References,
        requests: Sequence[Record],
        attributes: Sequence[Record],
        dice: Random,
    ) -> None:
        config, width = cell.config, cell.partitions
        pools = [PoolsStep(config, references, number, width) for number in range(width)]
        steps = [AccountsStep(config, references, number) for number in range(width)]
        findings: list[Finding] = []
        self.scores: Counter[tuple[str, int, float]] = Counter()
        self.closed: dict[tuple[str, int], int] = {}
        for number, step in enumerate(steps):
            rows, kept, _ = decode_attributes([record.value for record in attributes if record.partition == number])
            places = np.array([record.offset for record in attributes if record.partition == number], np.int64)
            step.apply_attributes(rows, places[kept])
            _apply(step, [record for record in requests if record.partition == number], dice)
            outcome = step.take()
            findings += outcome.findings
            for row in outcome.windows:
                self.scores[to_hex(int(row["account"])), int(row["hop"]), float(row["score"])] += 1
            self._close("accounts", number, outcome.closed_hop)
            for pool, part in zip(pools, split_rows(outcome.contributions, width), strict=True):
                pool.add(number, part, outcome.closed_hop, number)
        for number, pool in enumerate(pools):
            taken = pool.take()
            findings += taken.findings
            self._close("pools", number, taken.closed_hop)
        self.findings = Counter(encode_finding(finding) for finding in findings)
        self.account_rows = _rows(steps)
        self.pool_rows = _rows(pools)

    def _close(self, job: str, number: int, hop: int) -> None:
        if hop >= 0:
            self.closed[job, number] = hop


def _apply(step: AccountsStep, records: Sequence[Record], dice: Random) -> None:
    """Give one partition's log to the step, in pieces of random length."""
    waiting: list[Record] = []

    def flush() -> None:
        decoded = decode_events([record.value for record in waiting])
        step.apply(decoded.columns, np.array([waiting[place].offset for place in decoded.kept.tolist()], np.int64))
        waiting.clear()

    longest = dice.randint(1, _LONGEST_CUT)
    for record in records:
        heartbeat = decode_heartbeat(record.value) if record.key is None else None
        if heartbeat is None:
            waiting.append(record)
        if waiting and (heartbeat is not None or len(waiting) >= longest):
            flush()
            longest = dice.randint(1, _LONGEST_CUT)
        if heartbeat is not None:
            step.advance(heartbeat.time_unix_ms, record.offset)
    if waiting:
        flush()


def _rows(steps: Sequence[Any]) -> dict[tuple[int, bytes], bytes]:
    found: dict[tuple[int, bytes], bytes] = {}
    for number, step in enumerate(steps):
        keys, values = step.dirty()
        found |= {(number, key): value for key, value in zip(keys, values, strict=True) if value is not None}
    return found


class PlainCounts:
    """By hand: every readable request once in its account, its hop and its pools; every other one rejected."""

    def __init__(self, records: Sequence[Record], config: DetectionConfig) -> None:
        self._hop_ms = config.clocking.hop_ms
        self.totals: Counter[str] = Counter()
        self.rejected: Counter[tuple[str, int, int]] = Counter()
        self._windows: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        self._pools: Counter[tuple[int, int, str]] = Counter()
        self._closed: dict[int, int] = {}
        self._home: dict[str, int] = {}
        latest: dict[int, int] = {}
        hop_ms, lateness_ms = config.clocking.hop_ms, config.clocking.lateness_ms
        for record in records:
            body = _read(record.value)
            if body is None:
                self.rejected[REQUESTS.name, record.partition, record.offset] += 1
                continue
            reached = latest[record.partition] = max(latest.get(record.partition, -1), body["time_unix_ms"])
            closed = self._closed[record.partition] = max(
                self._closed.get(record.partition, -1), (reached - lateness_ms) // hop_ms - 1
            )
            if record.key is not None:
                self._home[body["account"]] = record.partition
                self._count(body, closed)

    def _count(self, body: dict[str, Any], closed: int) -> None:
        account = body["account"]
        own = body["time_unix_ms"] // self._hop_ms
        hop = max(own, closed + 1)
        self.totals[account] += 1
        self._windows[account, hop].update(
            requests=1,
            input_tokens=body.get("gen_ai_usage_input_tokens", 0),
            output_tokens=body.get("gen_ai_usage_output_tokens", 0),
            errors=int(bool(body.get("error_type"))),
            late=int(own < hop),
        )
        for family, name in _BY_FIELD.items():
            if body.get(name):
                self._pools[hop, int(family), account] += 1
        if "sketch" in body:
            ladder = struct.unpack("<9Q", base64.b64decode(body["sketch"]["ladder"]))
            for family, rung in _BY_RUNG.items():
                if ladder[rung]:
                    self._pools[hop, int(family), account] += 1

    def closed_windows(self) -> dict[tuple[str, int], tuple[int, ...]]:
        """Give the counts of hops that the account's partition has closed."""
        return {
            place: tuple(counts[name] for name in _WINDOW_COUNTS)
            for place, counts in self._windows.items()
            if place[1] <= self._closed[self._home[place[0]]]
        }

    def contributions(self) -> dict[tuple[int, int, str], int]:
        """Give requests by hop, family and account, whatever the pool."""
        return dict(self._pools)


def _read(value: bytes) -> dict[str, Any] | None:
    """Read a request or a control record; whatever the traffic has of bad records lacks one of these fields."""
    try:
        body = json.loads(value)
    except (ValueError, RecursionError):
        return None
    known = {"request.v1": "account", "heartbeat.v1": "time_unix_ms"}.get(body.get("type", ""), "")
    return body if isinstance(body.get(known), (str, int)) else None
