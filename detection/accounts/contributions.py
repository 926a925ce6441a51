"""From requests to contributions: what each account adds to each pool in each hop.

The families that say how a request was made (settings, network, payment) repeat from request to request, so they are
added up from cells: requests of one account that agree in all of them. Template families are added up from requests.
Sums, minima and maxima only: the order of requests cannot show, and rows of several takes add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.accounts.derive import Derived
from detection.accounts.fold import fold, group
from detection.columns import CONTRIBUTION, RESIDUAL_REGISTERS, RESPONSE_REGISTERS, Flag
from detection.families import Family
from detection.ids import combine, mix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.accounts.fold import Block, Column
    from detection.columns import StructuredArray, UInt64Array
    from detection.state.store import SlotArray

_WIDTH: Final = CONTRIBUTION.itemsize
_REGISTERS: Final = RESIDUAL_REGISTERS + RESPONSE_REGISTERS
_COUNTS: Final = 17  # Neighbouring 4-byte counts of a contribution, from "requests" on.
_FLAG_COUNTS: Final = (
    Flag.REFUSAL,
    Flag.CUE_REASONING,
    Flag.CUE_SYNTHESIS,
    Flag.CUE_GRADING,
    Flag.CUE_BOUNDARY,
    Flag.CUE_IDENTITY,
    Flag.ECHO,
    Flag.LOGPROBS,
)
_LATER_FLAG_COUNTS: Final = (Flag.MULTI_TURN, Flag.TOOLS, Flag.ERROR)
COINCIDENCE_MS: Final = 10_000  # A window; requests within 5 s of each other share one.
COINCIDENCE_SAMPLE: Final = 2  # One in so many prompts is looked at.
_SETTINGS: Final[tuple[tuple[Family, tuple[str, ...]], ...]] = (
    (Family.CONFIGURATION, ("configuration",)),
    (Family.CONFIGURATION_CLIENT, ("configuration", "client")),
    (Family.CONFIGURATION_SINGLE_TURN, ("configuration",)),
    (Family.CONFIGURATION_YOUNG, ("configuration",)),
    (Family.CONFIGURATION_COHORT, ("configuration", "cohort")),
    (Family.NETWORK, ("network",)),
    (Family.ADDRESS, ("address",)),
    (Family.NETWORK_CONFIGURATION, ("network", "configuration")),
    (Family.PAYMENT, ("payment",)),
)
# Column and rung of EVENT's ladder.
_TEMPLATES: Final[tuple[tuple[Family, str, int | None], ...]] = (
    (Family.SYSTEM, "system", None),
    (Family.PREFIX_8, "prefix", 0),
    (Family.PREFIX_16, "prefix", 1),
    (Family.PREFIX_32, "prefix", 2),
    (Family.SUFFIX_8, "suffix", 0),
)


@dataclass(frozen=True, slots=True)
class _Addends:
    """Rows that add up to contributions: who and when, and blocks of columns to fold.

    ``blocks`` are counts with the projection (sums), long sums, registers of numbers with minima negated (maxima),
    registers of hashes (maxima), and, once requests have been added up, HyperLogLog registers (maxima).
    """

    account: UInt64Array
    customer: UInt64Array
    hop: Column
    blocks: tuple[Block, ...]

    @property
    def key(self) -> tuple[Column, ...]:
        return self.account, self.customer, self.hop

    def fold(self, order: SlotArray, starts: SlotArray) -> _Addends:
        first = order[starts]
        folded = fold(self.blocks, order, starts)
        blocks = tuple((pick, block) for (pick, _), block in zip(self.blocks, folded, strict=True))
        return _Addends(self.account[first], self.customer[first], self.hop[first], blocks)

    def part(self, places: SlotArray) -> _Addends:
        blocks = tuple((pick, block.take(places, axis=0)) for pick, block in self.blocks)
        return _Addends(self.account[places], self.customer[places], self.hop[places], blocks)


@dataclass(frozen=True, slots=True)
class _PoolRows:
    family: Family
    pool: UInt64Array
    addends: _Addends


def build_contributions(pieces: Sequence[Derived]) -> StructuredArray:
    """Add requests up to one row for each (hop, family, pool, customer, account), by family."""
    if not pieces:
        return np.zeros(0, CONTRIBUTION)
    batch = pieces[0] if len(pieces) == 1 else Derived.join(pieces)
    requests = _addends(batch)
    parts = [*_settings(batch, requests), *_templates(batch, requests), *_coincidences(batch, requests)]
    rows = np.empty(sum(len(part.pool) for part in parts), CONTRIBUTION)
    start = 0
    for part in parts:
        stop = start + len(part.pool)
        _write(rows[start:stop], part)
        start = stop
    return rows


def _settings(batch: Derived, requests: _Addends) -> list[_PoolRows]:
    events = batch.events
    columns = {name: np.ascontiguousarray(events[name]) for name in ("configuration", "client", "network", "address")}
    columns |= {"cohort": batch.cohort, "payment": batch.payment}
    order, starts = group((*requests.key, *columns.values(), batch.young, batch.single_turn))
    first = order[starts]
    cells = _add_up(batch, requests, order, starts)
    attribute = {name: column[first] for name, column in columns.items()}
    only = {
        Family.CONFIGURATION_SINGLE_TURN: batch.single_turn[first],
        Family.CONFIGURATION_YOUNG: batch.young[first],
    }
    parts = []
    for family, shared in _SETTINGS:
        present = only.get(family, np.ones(len(first), np.bool_))
        for name in shared:
            present = present & (attribute[name] > 0)
        chosen = np.flatnonzero(present)
        if not len(chosen):
            continue
        attributes = [attribute[name][chosen] for name in shared]
        order, starts = group((*(column[chosen] for column in cells.key), *attributes))
        pool = _pool(family, [column[order[starts]] for column in attributes])
        parts.append(_PoolRows(family, pool, cells.fold(chosen[order], starts)))
    return parts


def _templates(batch: Derived, requests: _Addends) -> list[_PoolRows]:
    parts = []
    for family, name, rung in _TEMPLATES:
        column = batch.events[name]
        template = np.ascontiguousarray(column if rung is None else column[:, rung])
        chosen = np.flatnonzero(template)
        if not len(chosen):
            continue
        order, starts = group((*(column[chosen] for column in requests.key), template[chosen]))
        order = chosen[order]
        rows = _add_up(batch, requests, order, starts)
        parts.append(_PoolRows(family, _pool(family, [template[order[starts]]]), rows))
    return parts


def _coincidences(batch: Derived, requests: _Addends) -> list[_PoolRows]:
    """Key long first turns by prompt and moment, in two rows of windows that overlap by half: lane G.

    Two requests within half a window of each other share one of the two for certain. Only a share of all prompts is
    looked at, the same everywhere, for the rows cost as much as those of any other key.
    """
    turn = np.ascontiguousarray(batch.events["last_turn"])
    telling = (batch.events["prefix"][:, 0] > 0) & (turn > 0)
    chosen = np.flatnonzero(telling & (mix(turn) % np.uint64(COINCIDENCE_SAMPLE) == 0))
    parts = []
    for shift in (0, COINCIDENCE_MS // 2) if len(chosen) else ():
        moment = ((batch.events["time"][chosen] + shift) // COINCIDENCE_MS * 2 + (shift > 0)).astype(np.uint64)
        order, starts = group((*(column[chosen] for column in requests.key), turn[chosen], moment))
        prompt = turn[chosen][order[starts]]
        pool = _pool(Family.COINCIDENCE, [prompt, moment[order[starts]]])
        rows = _add_up(batch, requests, chosen[order], starts)
        # Two windows may tell of one coincidence: the prompt stands where other families have network and payment.
        blocks = (*rows.blocks[:3], (np.maximum, np.stack([prompt, prompt], axis=1)), *rows.blocks[4:])
        parts.append(_PoolRows(Family.COINCIDENCE, pool, _Addends(rows.account, rows.customer, rows.hop, blocks)))
    return parts


def _pool(family: Family, shared: list[UInt64Array]) -> UInt64Array:
    return combine(np.full(len(shared[0]), int(family), np.uint64), *shared)


def _add_up(batch: Derived, requests: _Addends, order: SlotArray, starts: SlotArray) -> _Addends:
    """Fold requests, and offer their turns and responses to the registers of each group."""
    folded = requests.fold(order, starts)
    registers = np.zeros((len(starts), _REGISTERS), np.uint8)
    at = np.repeat(np.arange(len(starts)) * _REGISTERS, np.diff(starts, append=len(order)))
    flat = registers.reshape(-1)
    np.maximum.at(flat, at + batch.turn_places[order], batch.turn_ranks[order])
    np.maximum.at(flat, at + RESIDUAL_REGISTERS + batch.response_places[order], batch.response_ranks[order])
    blocks = (*folded.blocks, (np.maximum, registers))
    return _Addends(folded.account, folded.customer, folded.hop, blocks)


def _addends(batch: Derived) -> _Addends:
    events, bits = batch.events, batch.bits
    projection = events["projection"]
    counts = np.empty((len(events), _COUNTS + projection.shape[1]), np.int32)
    counts[:, 0] = 1
    counts[:, 1] = batch.young
    counts[:, 2:10] = bits[:, [int(flag).bit_length() - 1 for flag in _FLAG_COUNTS]]
    counts[:, 10] = batch.burst
    counts[:, 11] = batch.continued
    counts[:, 12:15] = bits[:, [int(flag).bit_length() - 1 for flag in _LATER_FLAG_COUNTS]]
    counts[:, 15] = batch.sine
    counts[:, 16] = batch.cosine
    counts[:, _COUNTS:] = projection
    sums = np.empty((len(events), 5), np.int64)
    sums[:, :3] = batch.sums[:, 3:6]
    sums[:, 3] = batch.sums[:, 1]
    sums[:, 4] = np.einsum("ij,ij->i", counts[:, _COUNTS:], counts[:, _COUNTS:])
    numbers = np.stack([-batch.before, batch.before + 1, -batch.first_seen, batch.created_at, batch.verified], axis=1)
    hashes = np.stack([events["network"], batch.payment], axis=1)
    blocks = ((np.add, counts), (np.add, sums), (np.maximum, numbers), (np.maximum, hashes))
    return _Addends(np.ascontiguousarray(events["account"]), batch.customer, batch.hop, blocks)


def _write(rows: StructuredArray, part: _PoolRows) -> None:
    """Fill contribution rows; neighbouring fields go as bytes, since those of a packed row are not aligned."""
    addends = part.addends
    rows["family"] = part.family
    rows["pool"] = part.pool
    rows["account"], rows["customer"], rows["hop"] = addends.key
    counts, sums, numbers, hashes, registers = (block for _, block in addends.blocks)
    octets = rows.view(np.uint8).reshape(-1, _WIDTH)
    whole = counts.view(np.uint8)
    _put(octets, "requests", whole[:, : 4 * _COUNTS])
    _put(octets, "projection", whole[:, 4 * _COUNTS :])
    _put(octets, "log_input", sums.view(np.uint8))
    _put(octets, "residuals", registers)
    rows["account_requests_before"] = np.negative(numbers[:, 0])
    rows["account_requests"] = numbers[:, 1]
    rows["first_seen"] = np.negative(numbers[:, 2])
    rows["created_at"] = numbers[:, 3]
    rows["verified"] = numbers[:, 4]
    rows["network"], rows["payment"] = hashes[:, 0], hashes[:, 1]


def _put(octets: Column, name: str, block: Column) -> None:
    fields = CONTRIBUTION.fields
    if fields is None:
        raise KeyError(name)
    start = int(fields[name][1])
    octets[:, start : start + block.shape[1]] = block
