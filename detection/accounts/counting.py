"""The hot loop: one request after the other onto its account's row, into the tally, and out at milestones.

Everything that a request means for its account (its count so far, gaps, continuation, youth, the hop that it counts in)
is read from the row as the requests before it left it, so that where a stream is cut cannot show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.accounts import adding
from detection.accounts.adding import mix
from detection.accounts.twins import log_fixed, offer
from detection.columns import BOUNDARIES, CUES, EVENT, LADDER_WORDS, PROJECTION_DIMENSIONS, Flag
from detection.compiled import Whole, Words, compiled
from detection.families import Family
from detection.state import places
from detection.state.rows import (
    BIAS_REGISTERS,
    CELL_BITS,
    COUNTERS,
    FLAG_COUNTERS,
    HEAD_WORDS,
    HOURS,
    LOG_BYTES,
    LOGGED,
    PANES,
    RESPONSE_REGISTERS,
    RING,
    TEMPLATE_COUNTERS,
    TEMPLATE_REGISTERS,
    TURN_REGISTERS,
    WIDTH,
    offset_of,
)

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray


BURST_MS: Final = 1_000
SINGLE_TURN_LEAST: Final = 3  # Requests before an account can be called single-turn.
SINGLE_TURN_PARTS: Final = 10  # At most one in so many of its requests is multi-turn.
TEMPLATE_RUNG: Final = 1  # Of the prefix ladder: the first 16 words.
MARK_WORDS: Final = WIDTH // 8 + 4  # A row written out, then hop, customer, count and settings.

# Places of RULES, which do not change, and of CLOCK, which does.
HOP_MS, LATENESS_MS, YOUNG_MS, COHORT_MS = range(4)
LATEST, CLOSED, BEGAN, LATE, MARKS = range(5)
# Why the loop ended.
DONE, CLOSES, FULL = range(3)


def _event(name: str, width: int) -> int:
    fields = EVENT.fields
    if fields is None:
        raise KeyError(name)
    return int(fields[name][1]) // width


_TIME, _ACCOUNT, _ORGANIZATION, _NETWORK = (_event(name, 8) for name in ("time", "account", "organization", "network"))
_CONFIGURATION, _CLIENT, _ADDRESS = (_event(name, 8) for name in ("configuration", "client", "address"))
_SYSTEM, _PREFIX, _SUFFIX = (_event(name, 8) for name in ("system", "prefix", "suffix"))
_TURN, _RESPONSE, _BIAS, _BOUNDARIES = (_event(name, 8) for name in ("last_turn", "response", "bias", "boundaries"))
_FLAGS, _INPUT, _OUTPUT, _REASONING = (
    _event(name, 4) for name in ("flags", "input_tokens", "output_tokens", "reasoning_tokens")
)
_PROJECTION: Final = _event("projection", 1)
_DEEPEST: Final = _BOUNDARIES + BOUNDARIES - 1

_R_VERIFIED: Final = offset_of("verified") // 4
_R_COUNTERS: Final = offset_of(COUNTERS[0]) // 4
_R_REQUESTS, _R_YOUNG, _R_BURSTS, _R_CONTINUED, _R_LATE, _R_MULTI_TURN = (
    offset_of(name) // 4 for name in ("requests", "young", "bursts", "continued", "late", "multi_turn")
)
_R_PANE_HOP, _R_PANE_REQUESTS, _R_PANE_ERRORS, _R_PANE_LATE = (
    offset_of(name) // 4 for name in ("pane_hop", "pane_requests", "pane_errors", "pane_late")
)
_R_PANE_INPUT, _R_PANE_OUTPUT, _R_PROMPTS, _R_ASOF = (
    offset_of(name) // 8 for name in ("pane_input", "pane_output", "prompts", "asof")
)
_R_CREATED, _R_ATTRIBUTES_ORGANIZATION, _R_PAYMENT, _R_ORGANIZATION, _R_PLACE = (
    offset_of(name) // 8 for name in ("created_at", "attributes_organization", "payment", "organization", "place")
)
_R_FIRST_SEEN, _R_LAST_SEEN, _R_PREVIOUS, _R_SUMS = (
    offset_of(name) // 8 for name in ("first_seen", "last_seen", "previous_time", "input_tokens")
)
_R_LOG: Final = 8 * HEAD_WORDS
_ROW_WORDS: Final = WIDTH // 8

_FLAG_COUNT: Final = len(FLAG_COUNTERS)
_MULTI_TURN: Final = int(Flag.MULTI_TURN).bit_length() - 1
_ERROR: Final = int(Flag.ERROR).bit_length() - 1
# Which flag each of SINGLE_BITS is; those that are none, young, burst and continued, are set apart.
_FIRST_BITS: Final = tuple(int(flag).bit_length() - 1 for flag in (Flag.REFUSAL, *CUES, Flag.ECHO, Flag.LOGPROBS))
_BURST_BIT: Final = 1 + len(_FIRST_BITS)
_CONTINUED_BIT: Final = _BURST_BIT + 1
_LAST_BITS: Final = tuple(
    int(flag).bit_length() - 1 for flag in (Flag.MULTI_TURN, Flag.TOOLS, Flag.ERROR, Flag.REJECTED)
)
_HOUR_MS: Final = 3_600_000
_MINUTE_MS: Final = 60_000
_DAY_MINUTES: Final = 1_440
_HIGH_HALF: Final = np.uint64(32)
_FAMILY_SYSTEM, _FAMILY_8, _FAMILY_16, _FAMILY_32, _FAMILY_SUFFIX = (
    int(family) for family in (Family.SYSTEM, Family.PREFIX_8, Family.PREFIX_16, Family.PREFIX_32, Family.SUFFIX_8)
)
COINCIDENCE_MS: Final = 10_000  # A window; requests within 5 s of each other share one.
COINCIDENCE_SAMPLE: Final = 2  # One in so many prompts is looked at.
_LOOKED_AT: Final = np.uint64(COINCIDENCE_SAMPLE - 1)
_FAMILY_COINCIDENCE: Final = int(Family.COINCIDENCE)
_FAMILY_PLACE: Final = int(Family.NETWORK_CONFIGURATION)
_REJECTED: Final = np.uint32(Flag.REJECTED)

if LADDER_WORDS[:3] != (8, 16, 32):
    raise TypeError("the prefix families are the first three rungs of the ladder")


@compiled
def _sketch(event: Words, entry: NDArray[np.uint8]) -> None:
    """Write what a request adds to its account's sketches, in the form of the row's log."""
    offer(np.uint64(event[_TURN]), TURN_REGISTERS, entry, 0)
    offer(np.uint64(event[_RESPONSE]), RESPONSE_REGISTERS, entry, 2)
    template = np.uint64(event[_PREFIX + TEMPLATE_RUNG])
    offer(template, TEMPLATE_REGISTERS, entry, 4)
    offer(np.uint64(event[_BIAS]), BIAS_REGISTERS, entry, 6)
    # The high half: the low bits have chosen the register already, and a shared choice would tie the two sketches.
    entry[8] = 1 + (np.int64(template >> _HIGH_HALF) % TEMPLATE_COUNTERS) if template else 0
    entry[9] = (event[_TIME] // _HOUR_MS) % HOURS
    signed = event.view(np.int8)
    cell: Whole = 0
    some: Whole = 0
    for bit in range(CELL_BITS):
        value = signed[_PROJECTION + bit]
        cell |= np.int64(value > 0) << bit
        some |= np.int64(value != 0)
    entry[10] = cell
    entry[11] = some


@compiled
def _continues(event: Words, row: Words, before: Whole) -> bool:
    """Tell whether the request holds, before its last message, a whole prompt of the last ``RING`` requests."""
    for back in range(1, min(RING, before) + 1):
        prompt = row[_R_PROMPTS + (before - back) % RING]
        if prompt:
            for place in range(_BOUNDARIES, _DEEPEST):
                if event[place] == prompt:
                    return True
    return False


@compiled
def _fill_pane(event: Words, row: Words, hop: Whole, failed: Whole, late: Whole) -> None:
    words, halves = row.view(np.int32), event.view(np.int32)
    pane = hop % PANES
    if words[_R_PANE_HOP + pane] != hop:
        words[_R_PANE_HOP + pane] = hop
        words[_R_PANE_REQUESTS + pane] = words[_R_PANE_ERRORS + pane] = words[_R_PANE_LATE + pane] = 0
        row[_R_PANE_INPUT + pane] = row[_R_PANE_OUTPUT + pane] = 0
    words[_R_PANE_REQUESTS + pane] += 1
    words[_R_PANE_ERRORS + pane] += failed
    words[_R_PANE_LATE + pane] += late
    row[_R_PANE_INPUT + pane] += halves[_INPUT]
    row[_R_PANE_OUTPUT + pane] += halves[_OUTPUT]


@compiled
def _fill_sketches(
    row: Words, entry: NDArray[np.uint8], before: Whole, dense: places.Segments, free: NDArray[np.int32], counts: Words
) -> None:
    words = row.view(np.int32)
    kept = np.int64(words[places.TAIL])
    if not kept and before < LOGGED:
        at = _R_LOG + before * LOG_BYTES
        places.copy(entry, row.view(np.uint8)[at:])
        return
    if not kept:
        kept = places.take_registers(words, dense, free, counts) + 1
        places.replay(row, places.registers_of(dense, kept - 1))
        places.clear(row[HEAD_WORDS : places.MASKED])
    places.add_sketches(places.registers_of(dense, kept - 1), entry, 0)


@compiled
def _count(  # noqa: PLR0915 - one statement for each column is what there is to read
    event: Words,
    offset: Whole,
    slot: Whole,
    request: Words,
    entry: NDArray[np.uint8],
    store: Any,
    clock: Words,
    rules: Words,
) -> Whole:
    """Add one request to its row, and write what the tally keeps of it; give the account's count."""
    _, _, rows, dense, _, dense_free, dirty, counts = store
    row = places.row_of(rows, slot)
    words, halves = row.view(np.int32), event.view(np.int32)
    time = event[_TIME]
    before = np.int64(words[_R_REQUESTS])
    own_hop = time // rules[HOP_MS]
    hop = max(own_hop, clock[CLOSED] + 1)
    late = np.int64(own_hop <= clock[CLOSED])
    gap = abs(time - row[_R_PREVIOUS]) if before else 0
    if not before:
        row[_R_FIRST_SEEN] = time
    created = row[_R_CREATED]
    appeared = created if created > 0 else row[_R_FIRST_SEEN]
    # Youth and cohort by first sight mean nothing while the partition itself has only just begun to watch.
    young = np.int64(time - appeared < rules[YOUNG_MS] and (created > 0 or time - clock[BEGAN] > rules[YOUNG_MS]))
    telling = created > 0 or row[_R_FIRST_SEEN] - clock[BEGAN] >= rules[COHORT_MS]
    burst = np.int64(before > 0 and gap < BURST_MS)
    flags = np.int64(halves[_FLAGS])
    multi = flags >> _MULTI_TURN & 1
    continued = np.int64(multi and _continues(event, row, before))

    for bit in range(_FLAG_COUNT):
        words[_R_COUNTERS + bit] += flags >> bit & 1
    words[_R_REQUESTS] += 1
    words[_R_YOUNG] += young
    words[_R_BURSTS] += burst
    words[_R_CONTINUED] += continued
    words[_R_LATE] += late
    after = before + 1
    log_input, log_output, log_gap = log_fixed(halves[_INPUT]), log_fixed(halves[_OUTPUT]), log_fixed(gap)
    row[_R_SUMS] += halves[_INPUT]
    row[_R_SUMS + 1] += halves[_OUTPUT]
    row[_R_SUMS + 2] += halves[_REASONING]
    row[_R_SUMS + 3] += log_input
    row[_R_SUMS + 4] += log_output
    row[_R_SUMS + 5] += log_output * log_output
    row[_R_SUMS + 6] += log_gap
    row[_R_SUMS + 7] += log_gap * log_gap
    row[_R_LAST_SEEN] = max(row[_R_LAST_SEEN], time)
    row[_R_PREVIOUS] = time
    row[_R_ASOF] = offset
    if np.uint64(event[_ORGANIZATION]) > np.uint64(row[_R_ORGANIZATION]):
        row[_R_ORGANIZATION] = event[_ORGANIZATION]
    if event[_NETWORK] and event[_CONFIGURATION]:
        network, configuration = np.uint64(event[_NETWORK]), np.uint64(event[_CONFIGURATION])
        row[_R_PLACE] = np.int64(adding.pool_of_two(_FAMILY_PLACE, network, configuration))
    row[_R_PROMPTS + before % RING] = event[_DEEPEST]
    _fill_pane(event, row, hop, flags >> _ERROR & 1, late)
    _sketch(event, entry)
    _fill_sketches(row, entry, before, dense, dense_free, counts)
    places.mark(words, slot, dirty, counts)
    clock[LATE] += late

    organization = event[_ORGANIZATION] or row[_R_ATTRIBUTES_ORGANIZATION]
    own_halves, own_quarters = request.view(np.int32), request.view(np.uint16)
    own_octets = request.view(np.uint8)
    request[adding.S_POOL] = 0
    request[adding.S_CUSTOMER] = organization or event[_ACCOUNT]
    request[adding.S_ACCOUNT] = event[_ACCOUNT]
    request[adding.S_BEFORE] = before
    request[adding.S_FIRST_SEEN] = row[_R_FIRST_SEEN]
    request[adding.S_CREATED] = created
    request[adding.S_NETWORK] = event[_NETWORK]
    request[adding.S_PAYMENT] = row[_R_PAYMENT]
    bits = young | burst << _BURST_BIT | continued << _CONTINUED_BIT
    for place in range(len(_FIRST_BITS)):
        bits |= (flags >> _FIRST_BITS[place] & 1) << (1 + place)
    for place in range(len(_LAST_BITS)):
        bits |= (flags >> _LAST_BITS[place] & 1) << (_CONTINUED_BIT + 1 + place)
    own_halves[adding.S_HOP] = hop
    own_halves[adding.S_BITS] = bits
    own_halves[adding.S_OUTPUT] = halves[_OUTPUT]
    own_quarters[adding.S_LOG_INPUT] = log_input
    own_quarters[adding.S_LOG_OUTPUT] = log_output
    own_quarters[adding.S_MINUTE] = (time // _MINUTE_MS) % _DAY_MINUTES
    own_octets[adding.S_FAMILY] = 0
    own_octets[adding.S_VERIFIED] = words[_R_VERIFIED]
    places.copy(entry[:4], own_octets[adding.S_TURN_PLACE :])
    octets = event.view(np.uint8)
    for place in range(PROJECTION_DIMENSIONS):
        own_octets[adding.S_PROJECTION + place] = octets[_PROJECTION + place]
    request[adding.CONFIGURATION] = event[_CONFIGURATION]
    request[adding.CLIENT] = event[_CLIENT]
    request[adding.ADDRESS] = event[_ADDRESS]
    request[adding.COHORT] = appeared // rules[COHORT_MS] if telling else 0
    request[adding.TURN] = event[_TURN]
    request[adding.SINGLE_TURN] = np.int64(
        after >= SINGLE_TURN_LEAST and SINGLE_TURN_PARTS * np.int64(words[_R_MULTI_TURN]) <= after
    )
    return after


@compiled
def _contribute(event: Words, number: Whole, tally: Any) -> None:
    """Add a kept request to its cell and to the pools of its templates."""
    adding.add_to_cell(number, *tally)
    for family, place in (
        (_FAMILY_SYSTEM, _SYSTEM),
        (_FAMILY_8, _PREFIX),
        (_FAMILY_16, _PREFIX + 1),
        (_FAMILY_32, _PREFIX + 2),
        (_FAMILY_SUFFIX, _SUFFIX),
    ):
        template = np.uint64(event[place])
        if template:
            adding.add(adding.pool_of(family, template), family, number, *tally)
    # Lane G: long first turns by prompt and moment, in two rows of windows that overlap by half. Two requests within
    # half a window of each other share one of the two for certain. Only a share of all prompts is looked at.
    turn = np.uint64(event[_TURN])
    if turn and event[_PREFIX] and not mix(turn) & _LOOKED_AT:
        for half in range(2):
            moment = (event[_TIME] + half * (COINCIDENCE_MS // 2)) // COINCIDENCE_MS * 2 + half
            pool = adding.pool_of_two(_FAMILY_COINCIDENCE, turn, np.uint64(moment))
            adding.add(pool, _FAMILY_COINCIDENCE, number, *tally)


@compiled
def _has_room(store: Any, tally: Any, marks: Words, clock: Words) -> bool:
    keys, _, _, _, free, dense_free, _, counts = store
    _, entries, requests, sums, sizes = tally
    room: bool = (
        len(free) - counts[0] + counts[1] > 0
        and len(dense_free) - counts[2] + counts[3] > 0
        and len(keys) >= 2 * (counts[0] - counts[1] + 1)
        and len(entries) - sizes[0] >= adding.MOST_OF_A_REQUEST
        and len(requests) > sizes[1]
        and len(sums) - sizes[2] >= adding.MOST_OF_A_REQUEST
        and len(marks) > clock[MARKS]
    )
    return room


@compiled
def count_events(
    events: Words,
    offsets: Words,
    start: Whole,
    store: Any,
    tally: Any,
    milestones: NDArray[np.bool_],
    marks: Words,
    clock: Words,
    rules: Words,
) -> tuple[Whole, Whole]:
    """Count requests from ``start`` on, until all are, or one closes a hop, or there is no room: the next one, and why.

    ``events`` are ``EVENT`` rows as words. A request that closes a hop is not counted yet, nor has ``clock`` seen it.
    """
    keys, slots, rows, dense, free, _, _, counts = store
    entry = np.zeros(LOG_BYTES, np.uint8)
    for number in range(start, len(events)):
        event = events[number]
        latest = max(clock[LATEST], event[_TIME])
        if (latest - rules[LATENESS_MS]) // rules[HOP_MS] - 1 > clock[CLOSED]:
            return number, CLOSES
        if not _has_room(store, tally, marks, clock):
            return number, FULL
        clock[LATEST] = latest
        account = np.uint64(event[_ACCOUNT])
        at = places.find(keys, slots, account)
        slot = np.int64(slots[at])
        if slot < 0:
            slot = places.open_row(keys, slots, at, account, rows, free, counts)
        kept = tally[4][1]
        tally[4][1] += 1
        request = tally[2][kept]
        after = _count(event, offsets[number], slot, request, entry, store, clock, rules)
        _contribute(event, kept, tally)
        row = places.row_of(rows, slot)
        # Many gateways tell nothing of a refused call but whose key it was: it belongs where the key was used last.
        if event.view(np.uint32)[_FLAGS] & _REJECTED and row[_R_PLACE] and not event[_NETWORK]:
            adding.add(np.uint64(row[_R_PLACE]), _FAMILY_PLACE, kept, *tally)
        if milestones[min(after, len(milestones) - 1)]:
            mark = marks[clock[MARKS]]
            clock[MARKS] += 1
            places.write_out(row, dense, mark[:_ROW_WORDS])
            mark[_ROW_WORDS] = request.view(np.int32)[adding.S_HOP]
            mark[_ROW_WORDS + 1] = request[adding.S_CUSTOMER]
            mark[_ROW_WORDS + 2] = after
            mark[_ROW_WORDS + 3] = event[_CONFIGURATION]
    return len(events), DONE
