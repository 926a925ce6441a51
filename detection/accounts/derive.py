"""What each request means for its account: counts so far, gaps, continuation, youth, and the hop that it counts in.

Requests are taken in order of account and, within one account, of offset. Everything that depends on an account's
earlier requests is found from its row and from the earlier requests of the same piece, so that where a stream is cut
into pieces cannot show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.columns import FIXED_POINT, RESIDUAL_REGISTERS, RESPONSE_REGISTERS, Flag
from detection.sketches.hyperloglog import offers
from detection.state.records import join, take
from detection.state.rows import RING, SUMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detection.columns import Int64Array, StructuredArray, UInt64Array
    from detection.config import PoolLane
    from detection.sketches.hyperloglog import Registers
    from detection.state.store import RowStore, SlotArray

    Bools = NDArray[np.bool_]

BURST_MS: Final = 1_000
SINGLE_TURN_LEAST: Final = 3  # Requests before an account can be called single-turn.
SINGLE_TURN_PARTS: Final = 10  # At most one in so many of its requests is multi-turn.
_MULTI_TURN_BIT: Final = int(Flag.MULTI_TURN).bit_length() - 1
_MINUTE_MS: Final = 60_000
_DAY_MINUTES: Final = 1_440
_ANGLES: Final = [2 * math.pi * minute / _DAY_MINUTES for minute in range(_DAY_MINUTES)]
_SINE: Final = np.array([round(FIXED_POINT * math.sin(angle)) for angle in _ANGLES], np.int32)
_COSINE: Final = np.array([round(FIXED_POINT * math.cos(angle)) for angle in _ANGLES], np.int32)

if RESIDUAL_REGISTERS != 128 or RESPONSE_REGISTERS != 64:  # noqa: PLR2004 - The rows' own sizes.
    raise TypeError("account rows and contributions share their offers to registers")


@dataclass(frozen=True, slots=True)
class Derived:
    """One piece of a stream in order of account: every array has a value for each request, shape ``(n,)``."""

    events: StructuredArray
    offsets: Int64Array
    slots: SlotArray
    starts: SlotArray  # Where each account's requests begin; shape ``(accounts,)``.
    hop: Int64Array  # The hop it counts in: its own, or the lowest that is open.
    late: Bools
    before: Int64Array  # The account's own count before this request.
    sums: Int64Array  # Addends of the row's SUMS, shape ``(n, len(SUMS))``.
    bits: NDArray[np.uint8]  # One column for each bit of the flags, shape ``(n, 32)``.
    burst: Bools
    continued: Bools
    young: Bools
    single_turn: Bools
    cohort: UInt64Array  # First seen, or created, // cohort_ms; 0 where it says nothing.
    first_seen: Int64Array
    created_at: Int64Array
    payment: UInt64Array
    verified: Registers
    customer: UInt64Array
    sine: NDArray[np.int32]
    cosine: NDArray[np.int32]
    turn_places: SlotArray
    turn_ranks: Registers
    response_places: SlotArray
    response_ranks: Registers

    @property
    def segments(self) -> SlotArray:
        """Give for each request the number of its account within ``starts``."""
        lengths = np.diff(self.starts, append=len(self.events))
        return np.repeat(np.arange(len(self.starts)), lengths)

    def part(self, chosen: SlotArray) -> Derived:
        """Give some of the requests, by ascending place."""
        columns = {name: getattr(self, name)[chosen] for name in _COLUMNS}
        columns["events"] = take(self.events, chosen)
        return Derived(starts=np.flatnonzero(np.diff(columns["slots"], prepend=-1)), **columns)

    @staticmethod
    def join(pieces: Sequence[Derived]) -> Derived:
        """Put pieces after one another; ``starts`` then marks runs of one account, which may come again."""
        columns = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in _COLUMNS}
        columns["events"] = join([piece.events for piece in pieces])
        return Derived(starts=np.flatnonzero(np.diff(columns["slots"], prepend=-1)), **columns)


_COLUMNS: Final = tuple(field.name for field in fields(Derived) if field.name not in {"events", "starts"})


def derive(
    store: RowStore,
    events: StructuredArray,
    offsets: Int64Array,
    *,
    hop_ms: int,
    closed: int,
    began: int,
    lane: PoolLane,
) -> Derived:
    """Read one piece (no hop closes inside it) against the rows as they are before it; changes no row."""
    count = len(events)
    slots = store.slots_of(np.ascontiguousarray(events["account"]))
    # Sorting packed pairs is several times faster than a stable argsort, and just as stable.
    packed = np.sort((slots << 32) | np.arange(count))
    order = packed & 0xFFFFFFFF
    slots = packed >> 32
    events, offsets = take(events, order), offsets[order]
    starts = np.flatnonzero(np.diff(slots, prepend=-1))
    segment = np.repeat(np.arange(len(starts)), np.diff(starts, append=count))
    touched = slots[starts]
    rows = store.rows
    time = np.ascontiguousarray(events["time"])
    flags = np.ascontiguousarray(events["flags"])
    earlier = rows["requests"][touched].astype(np.int64)
    before = (earlier - starts)[segment] + np.arange(count)

    own_hop = time // hop_ms
    hop = np.maximum(own_hop, closed + 1)
    previous = np.empty_like(time)
    previous[1:] = time[:-1]
    previous[starts] = rows["previous_time"][touched]
    gap = np.where(before > 0, np.abs(time - previous), 0)

    first_seen = np.where(earlier > 0, rows["first_seen"][touched], time[starts])
    created_at = rows["created_at"][touched]
    dated = created_at > 0
    # Youth and cohort by first sight mean nothing while the partition itself has only just begun to watch.
    age = time - np.where(dated, created_at, first_seen)[segment]
    young = (age < lane.young_ms) & (dated[segment] | (time - began > lane.young_ms))
    telling = dated | (first_seen - began >= lane.cohort_ms)
    cohort = np.where(telling, np.where(dated, created_at, first_seen) // lane.cohort_ms, 0)

    multi = ((flags >> _MULTI_TURN_BIT) & 1).astype(np.int64)
    so_far = np.cumsum(multi)
    multi_turns = so_far + (rows["multi_turn"][touched] - so_far[starts] + multi[starts])[segment]
    after = before + 1
    single_turn = (after >= SINGLE_TURN_LEAST) & (SINGLE_TURN_PARTS * multi_turns <= after)

    account = np.ascontiguousarray(events["account"])
    named = np.ascontiguousarray(events["organization"])
    organization = np.where(named > 0, named, rows["attributes_organization"][touched][segment])
    minute = (time // _MINUTE_MS) % _DAY_MINUTES
    turn_places, turn_ranks = offers(np.ascontiguousarray(events["last_turn"]), RESIDUAL_REGISTERS)
    response_places, response_ranks = offers(np.ascontiguousarray(events["response"]), RESPONSE_REGISTERS)
    return Derived(
        events=events,
        offsets=offsets,
        slots=slots,
        starts=starts,
        hop=hop,
        late=own_hop <= closed,
        before=before,
        sums=_sums(events, gap),
        bits=np.unpackbits(flags.view(np.uint8).reshape(count, 4), axis=1, bitorder="little"),
        burst=(before > 0) & (gap < BURST_MS),
        continued=_continued(events, before, rows["prompts"], slots, earlier[segment], multi > 0),
        young=young,
        single_turn=single_turn,
        cohort=cohort.astype(np.uint64)[segment],
        first_seen=first_seen[segment],
        created_at=created_at[segment],
        payment=rows["payment"][touched][segment],
        verified=rows["verified"][touched].astype(np.uint8)[segment],
        customer=np.where(organization > 0, organization, account),
        sine=_SINE[minute],
        cosine=_COSINE[minute],
        turn_places=turn_places,
        turn_ranks=turn_ranks,
        response_places=response_places,
        response_ranks=response_ranks,
    )


def _sums(events: StructuredArray, gap: Int64Array) -> Int64Array:
    sums = np.empty((len(events), len(SUMS)), np.int64)
    sums[:, 0] = events["input_tokens"]
    sums[:, 1] = events["output_tokens"]
    sums[:, 2] = events["reasoning_tokens"]
    sums[:, 3] = _log_fixed(sums[:, 0])
    sums[:, 4] = _log_fixed(sums[:, 1])
    sums[:, 6] = _log_fixed(gap)
    np.multiply(sums[:, 4], sums[:, 4], out=sums[:, 5])
    np.multiply(sums[:, 6], sums[:, 6], out=sums[:, 7])
    return sums


def _log_fixed(values: Int64Array) -> Int64Array:
    fixed: Int64Array = np.rint(np.log1p(values.astype(np.float64)) * FIXED_POINT).astype(np.int64)
    return fixed


def _continued(
    events: StructuredArray,
    before: Int64Array,
    prompts: UInt64Array,
    slots: SlotArray,
    earlier: Int64Array,
    multi: Bools,
) -> Bools:
    """Tell which requests hold, before their last message, a whole prompt of the account's last ``RING`` requests."""
    continued = np.zeros(len(events), np.bool_)
    asked = np.flatnonzero(multi)
    if not len(asked):
        return continued
    deepest = np.ascontiguousarray(events["boundaries"][:, -1])
    shallower = events["boundaries"][asked, :-1]
    known = prompts[slots[asked]]
    each = np.arange(len(asked))
    found = np.zeros(len(asked), np.bool_)
    for back in range(1, RING + 1):
        place = before[asked] - back  # The account's request of this number, counted from 0.
        prompt = np.where(place < earlier[asked], known[each, place % RING], deepest[np.maximum(asked - back, 0)])
        prompt[place < 0] = 0
        found |= (prompt > 0) & (shallower == prompt[:, None]).any(axis=1)
    continued[asked] = found
    return continued
