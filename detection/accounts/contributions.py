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
from detection.columns import CONTRIBUTION, PROJECTION_DIMENSIONS, Flag
from detection.families import Family
from detection.ids import combine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detection.columns import StructuredArray
    from detection.state.store import SlotArray

    Columns = Sequence[NDArray[np.generic]]

_WIDTH: Final = CONTRIBUTION.itemsize
_KEY: Final = ("hop", "pool", "customer", "account")
_MINIMA: Final = ("account_requests_before", "first_seen")
_MAXIMA: Final = ("verified", "account_requests", "created_at", "network", "payment")
# Fields of one kind lie side by side, and move as one block: first field, columns, type.
_BLOCKS: Final[tuple[tuple[str, int, np.dtype[np.generic]], ...]] = (
    ("requests", 17, np.dtype(np.int32)),
    ("log_input", 5, np.dtype(np.int64)),
    ("projection", PROJECTION_DIMENSIONS, np.dtype(np.int32)),
)
_FLAG_COLUMNS: Final = (
    Flag.REFUSAL,
    Flag.CUE_REASONING,
    Flag.CUE_SYNTHESIS,
    Flag.CUE_GRADING,
    Flag.CUE_BOUNDARY,
    Flag.CUE_IDENTITY,
    Flag.ECHO,
    Flag.LOGPROBS,
)
_LATER_FLAG_COLUMNS: Final = (Flag.MULTI_TURN, Flag.TOOLS, Flag.ERROR)
# Odd, from the digits of pi: equal keys get equal sums, and unequal ones are told apart by their columns.
_MULTIPLIERS: Final = np.array(
    [
        0x243F6A8885A308D3,
        0x13198A2E03707345,
        0xA4093822299F31D1,
        0x082EFA98EC4E6C89,
        0x452821E638D01377,
        0xBE5466CF34E90C6D,
        0xC0AC29B7C97C50DD,
        0x3F84D5B5B5470917,
        0x9216D5D98979FB1B,
        0xD1310BA698DFB5AD,
        0x2FFD72DBD01ADFB7,
        0xB8E1AFED6A267E97,
    ],
    np.uint64,
)


@dataclass(frozen=True, slots=True)
class _Addends:
    """What each request adds, in the blocks of a contribution."""

    blocks: tuple[NDArray[np.generic], ...]
    extremes: dict[str, NDArray[np.generic]]


def build_contributions(pieces: Sequence[Derived]) -> StructuredArray:
    """Add requests up to one row for each (hop, family, pool, customer, account), by family."""
    if not pieces:
        return np.zeros(0, CONTRIBUTION)
    batch = pieces[0] if len(pieces) == 1 else Derived.join(pieces)
    addends = _addends(batch)
    parts = [*_settings(batch, addends), *_templates(batch, addends)]
    return np.concatenate(parts)


def _settings(batch: Derived, addends: _Addends) -> list[StructuredArray]:
    events = batch.events
    names = ("configuration", "client", "network", "address")
    columns = {name: np.ascontiguousarray(events[name]) for name in names}
    columns |= {"cohort": batch.cohort, "payment": batch.payment}
    states = {"young": batch.young, "single_turn": batch.single_turn}
    key = (*_account_key(batch), *columns.values(), *states.values())
    order, starts = _group(key)
    first = order[starts]
    cells = _add_up(batch, addends, order, starts)
    attribute = {name: column[first] for name, column in columns.items()}
    everywhere = np.ones(len(cells), np.bool_)
    families: tuple[tuple[Family, tuple[str, ...], NDArray[np.bool_]], ...] = (
        (Family.CONFIGURATION, ("configuration",), everywhere),
        (Family.CONFIGURATION_CLIENT, ("configuration", "client"), everywhere),
        (Family.CONFIGURATION_SINGLE_TURN, ("configuration",), states["single_turn"][first]),
        (Family.CONFIGURATION_YOUNG, ("configuration",), states["young"][first]),
        (Family.CONFIGURATION_COHORT, ("configuration", "cohort"), everywhere),
        (Family.NETWORK, ("network",), everywhere),
        (Family.ADDRESS, ("address",), everywhere),
        (Family.NETWORK_CONFIGURATION, ("network", "configuration"), everywhere),
        (Family.PAYMENT, ("payment",), everywhere),
    )
    parts = []
    for family, shared, where in families:
        present = where
        for name in shared:
            present = present & (attribute[name] > 0)
        chosen = np.flatnonzero(present)
        rows = cells[chosen]
        _name_pool(rows, family, [attribute[name][chosen] for name in shared])
        parts.append(merge(rows))
    return parts


def _templates(batch: Derived, addends: _Addends) -> list[StructuredArray]:
    events = batch.events
    families = (
        (Family.SYSTEM, events["system"]),
        (Family.PREFIX_8, events["prefix"][:, 0]),
        (Family.PREFIX_16, events["prefix"][:, 1]),
        (Family.PREFIX_32, events["prefix"][:, 2]),
        (Family.SUFFIX_8, events["suffix"][:, 0]),
    )
    parts = []
    for family, strided in families:
        template = np.ascontiguousarray(strided)
        order, starts = _group((*_account_key(batch), template))
        # Requests without the template are groups of their own, and are left out.
        starts_of = template[order[starts]] > 0
        lengths = np.diff(starts, append=len(order))
        order = order[np.repeat(starts_of, lengths)]
        lengths = lengths[starts_of]
        if not len(lengths):
            continue
        starts = np.cumsum(lengths) - lengths
        rows = _add_up(batch, addends, order, starts)
        _name_pool(rows, family, [template[order[starts]]])
        parts.append(rows)
    return parts


def _account_key(batch: Derived) -> tuple[NDArray[np.generic], ...]:
    return np.ascontiguousarray(batch.events["account"]), batch.customer, batch.hop


def _name_pool(rows: StructuredArray, family: Family, shared: list[NDArray[np.uint64]]) -> None:
    rows["family"] = family
    rows["pool"] = combine(np.full(len(rows), int(family), np.uint64), *shared)


def merge(rows: StructuredArray) -> StructuredArray:
    """Add contribution rows of one family up to one row for each (hop, pool, customer, account)."""
    if not len(rows):
        return rows
    order, starts = _group([np.ascontiguousarray(rows[name]) for name in _KEY])
    lengths = np.diff(starts, append=len(order))
    merged = rows[order[starts]]
    several = np.flatnonzero(lengths > 1)
    if not len(several):
        return merged
    inside = order[np.repeat(lengths > 1, lengths)]
    edges = np.cumsum(lengths[several]) - lengths[several]
    rows = rows[inside]
    octets = rows.view(np.uint8).reshape(-1, _WIDTH)
    for name, columns, kind in _BLOCKS:
        span = _span(name, columns, kind)
        block = np.ascontiguousarray(octets[:, span]).view(kind)
        _put(merged, several, span, np.add.reduceat(block, edges, axis=0, dtype=kind))
    registers = slice(_offset("residuals"), _WIDTH)
    _put(merged, several, registers, np.maximum.reduceat(octets[:, registers], edges, axis=0))
    for names, pick in ((_MINIMA, np.minimum), (_MAXIMA, np.maximum)):
        for name in names:
            merged[name][several] = pick.reduceat(np.ascontiguousarray(rows[name]), edges)
    return merged


def _add_up(batch: Derived, addends: _Addends, order: SlotArray, starts: SlotArray) -> StructuredArray:
    """Add requests up to contribution rows that lack only family and pool, one for each group."""
    rows = np.zeros(len(starts), CONTRIBUTION)
    first = order[starts]
    rows["hop"] = batch.hop[first]
    rows["customer"] = batch.customer[first]
    rows["account"] = batch.events["account"][first]
    alone = len(starts) == len(order)
    for (name, columns, kind), block in zip(_BLOCKS, addends.blocks, strict=True):
        sums = block[order]
        _put(
            rows,
            slice(None),
            _span(name, columns, kind),
            sums if alone else np.add.reduceat(sums, starts, axis=0, dtype=kind),
        )
    for names, pick in ((_MINIMA, np.minimum), (_MAXIMA, np.maximum)):
        for name in names:
            values = addends.extremes[name][order]
            rows[name] = values if alone else pick.reduceat(values, starts)
    octets = rows.view(np.uint8)
    at = np.repeat(np.arange(len(starts)) * _WIDTH, np.diff(starts, append=len(order)))
    for name, places, ranks in (
        ("residuals", batch.turn_places, batch.turn_ranks),
        ("responses", batch.response_places, batch.response_ranks),
    ):
        np.maximum.at(octets, at + (_offset(name) + places[order]), ranks[order])
    return rows


def _addends(batch: Derived) -> _Addends:
    bits = batch.bits
    counts = np.empty((len(batch.events), 17), np.int32)
    counts[:, 0] = 1
    counts[:, 1] = batch.young
    counts[:, 2:10] = bits[:, [int(flag).bit_length() - 1 for flag in _FLAG_COLUMNS]]
    counts[:, 10] = batch.burst
    counts[:, 11] = batch.continued
    counts[:, 12:15] = bits[:, [int(flag).bit_length() - 1 for flag in _LATER_FLAG_COLUMNS]]
    counts[:, 15] = batch.sine
    counts[:, 16] = batch.cosine
    projection = batch.events["projection"].astype(np.int32)
    longs = np.empty((len(counts), 5), np.int64)
    longs[:, :3] = batch.sums[:, 3:6]
    longs[:, 3] = batch.sums[:, 1]
    longs[:, 4] = np.einsum("ij,ij->i", projection, projection)
    extremes: dict[str, NDArray[np.generic]] = {
        "account_requests_before": batch.before,
        "first_seen": batch.first_seen,
        "verified": batch.verified,
        "account_requests": batch.before + 1,
        "created_at": batch.created_at,
        "network": np.ascontiguousarray(batch.events["network"]),
        "payment": batch.payment,
    }
    return _Addends((counts, longs, projection), extremes)


def _group(columns: Columns) -> tuple[SlotArray, SlotArray]:
    """Order rows so that equal keys are neighbours: the order, and where each group begins in it."""
    total = np.zeros(len(columns[0]), np.uint64)
    for column, multiplier in zip(columns, _MULTIPLIERS, strict=False):
        total += column.astype(np.uint64) * multiplier
    order = np.argsort(total)
    border = np.ones(len(order), np.bool_)
    border[1:] = False
    for column in columns:
        ordered = column[order]
        border[1:] |= ordered[1:] != ordered[:-1]
    return order, np.flatnonzero(border)


def _offset(name: str) -> int:
    fields = CONTRIBUTION.fields
    if fields is None:
        raise KeyError(name)
    return int(fields[name][1])


def _span(first: str, columns: int, kind: np.dtype[np.generic]) -> slice:
    start = _offset(first)
    return slice(start, start + columns * kind.itemsize)


def _put(rows: StructuredArray, places: SlotArray | slice, span: slice, block: NDArray[np.generic]) -> None:
    """Write a block of columns as bytes: the fields of a packed row are not aligned."""
    octets = rows.view(np.uint8).reshape(-1, _WIDTH)
    octets[places, span] = np.ascontiguousarray(block).view(np.uint8).reshape(len(block), -1)
