"""Compiled parts of the tally: entries by key, and their sums. Columns are reached by their words, see the layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.columns import CONTRIBUTION, PROJECTION_DIMENSIONS, SINGLE, SINGLE_BITS
from detection.compiled import Whole, Words, compiled
from detection.families import Family
from detection.pools.contributions import COSINE, SINE
from detection.state.places import clear, copy

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _place(layout: np.dtype[np.void], name: str, width: int) -> int:
    fields = layout.fields
    if fields is None:
        raise KeyError(name)
    return int(fields[name][1]) // width


# A request as the tally keeps it: SINGLE, and after it what tells its cell.
SINGLE_WORDS: Final = SINGLE.itemsize // 8
CONFIGURATION, CLIENT, ADDRESS, COHORT, SINGLE_TURN, TURN = range(SINGLE_WORDS, SINGLE_WORDS + 6)
REQUEST_WORDS: Final = SINGLE_WORDS + 6
SUM_WORDS: Final = CONTRIBUTION.itemsize // 8
# An entry.
POOL, CUSTOMER, ACCOUNT, HOP, FAMILY, REQUEST, SUMS, SHARED = range(8)
ENTRY_WORDS: Final = 8
CELL: Final = 0  # In place of a family.
MOST_OF_A_REQUEST: Final = 9  # Entries: a cell, five templates, two coincidences and a place.

S_POOL, S_CUSTOMER, S_ACCOUNT, S_BEFORE = (
    _place(SINGLE, name, 8) for name in ("pool", "customer", "account", "account_requests_before")
)
S_FIRST_SEEN, S_CREATED, S_NETWORK, S_PAYMENT = (
    _place(SINGLE, name, 8) for name in ("first_seen", "created_at", "network", "payment")
)
S_HOP, S_BITS, S_OUTPUT = (_place(SINGLE, name, 4) for name in ("hop", "bits", "output_tokens"))
S_LOG_INPUT, S_LOG_OUTPUT, S_MINUTE = (_place(SINGLE, name, 2) for name in ("log_input", "log_output", "minute"))
S_FAMILY, S_VERIFIED, S_PROJECTION = (_place(SINGLE, name, 1) for name in ("family", "verified", "projection"))
S_TURN_PLACE, S_TURN_RANK = _place(SINGLE, "turn_place", 1), _place(SINGLE, "turn_rank", 1)
S_RESPONSE_PLACE, S_RESPONSE_RANK = _place(SINGLE, "response_place", 1), _place(SINGLE, "response_rank", 1)

C_POOL, C_CUSTOMER, C_ACCOUNT = (_place(CONTRIBUTION, name, 8) for name in ("pool", "customer", "account"))
C_LOG_INPUT, C_LOG_OUTPUT, C_LOG_OUTPUT_SQUARED, C_OUTPUT, C_PROJECTION_SQUARED = (
    _place(CONTRIBUTION, name, 8)
    for name in ("log_input", "log_output", "log_output_squared", "output_tokens", "projection_squared")
)
C_BEFORE, C_AFTER, C_FIRST_SEEN, C_CREATED = (
    _place(CONTRIBUTION, name, 8)
    for name in ("account_requests_before", "account_requests", "first_seen", "created_at")
)
C_NETWORK, C_PAYMENT = _place(CONTRIBUTION, "network", 8), _place(CONTRIBUTION, "payment", 8)
C_REQUESTS, C_BITS, C_SINE, C_COSINE, C_PROJECTION = (
    _place(CONTRIBUTION, name, 4) for name in ("requests", "young", "hour_sine", "hour_cosine", "projection")
)
C_FAMILY, C_VERIFIED, C_TURNS, C_RESPONSES = (
    _place(CONTRIBUTION, name, 1) for name in ("family", "verified", "residuals", "responses")
)
C_HOP: Final = _place(CONTRIBUTION, "hop", 4)
_BITS: Final = len(SINGLE_BITS)
_LEAST: Final = np.int64(2**63 - 1)
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_OTHER: Final = np.uint64(0xD1B54A32D192ED03)
_SHIFT: Final = np.uint64(24)
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)
_ONE: Final = np.uint64(1)

_CONFIGURATION: Final = int(Family.CONFIGURATION)
_CONFIGURATION_CLIENT: Final = int(Family.CONFIGURATION_CLIENT)
_CONFIGURATION_SINGLE_TURN: Final = int(Family.CONFIGURATION_SINGLE_TURN)
_CONFIGURATION_YOUNG: Final = int(Family.CONFIGURATION_YOUNG)
_CONFIGURATION_COHORT: Final = int(Family.CONFIGURATION_COHORT)
_NETWORK: Final = int(Family.NETWORK)
_ADDRESS: Final = int(Family.ADDRESS)
_NETWORK_CONFIGURATION: Final = int(Family.NETWORK_CONFIGURATION)
_PAYMENT: Final = int(Family.PAYMENT)
_COINCIDENCE: Final = int(Family.COINCIDENCE)


@compiled
def mix(value: np.uint64) -> np.uint64:
    """Do as ``detection.ids.mix``."""
    z = value + _GOLDEN
    z = (z ^ (z >> _30)) * _MIX_1
    z = (z ^ (z >> _27)) * _MIX_2
    return z ^ (z >> _31)


@compiled
def pool_of(family: Whole, shared: np.uint64) -> np.uint64:
    """Do as ``detection.ids.combine`` of a family and one attribute."""
    return max(mix(mix(np.uint64(family)) ^ shared), _ONE)


@compiled
def pool_of_two(family: Whole, one: np.uint64, other: np.uint64) -> np.uint64:
    """Do as ``detection.ids.combine`` of a family and two attributes."""
    return max(mix(mix(mix(np.uint64(family)) ^ one) ^ other), _ONE)


@compiled
def _gap_or_entry(
    index: NDArray[np.int32], entries: Words, pool: np.int64, customer: np.int64, account: np.int64, hop: Whole
) -> Whole:
    mask = len(index) - 1
    key = (np.uint64(pool) ^ (np.uint64(account) * _OTHER) ^ np.uint64(hop)) * _SPREAD
    at = np.int64(key >> _SHIFT) & mask
    while index[at] >= 0:
        entry = entries[index[at]]
        if entry[POOL] == pool and entry[ACCOUNT] == account and entry[HOP] == hop and entry[CUSTOMER] == customer:
            break
        at = (at + 1) & mask
    return at


@compiled
def index_again(index: NDArray[np.int32], entries: Words, sizes: Words) -> None:
    """Fill an empty index."""
    for number in range(sizes[0]):
        entry = entries[number]
        index[_gap_or_entry(index, entries, entry[POOL], entry[CUSTOMER], entry[ACCOUNT], entry[HOP])] = number


@compiled
def empty(index: NDArray[np.int32], sizes: Words) -> None:
    """Forget everything."""
    index[:] = -1
    clear(sizes)


@compiled
def _entry_of(
    pool: np.int64, family: Whole, request: Words, index: NDArray[np.int32], entries: Words, sizes: Words
) -> tuple[Whole, bool]:
    """Find or start the entry of a request's account in a pool; whether it is new."""
    hop = np.int64(request.view(np.int32)[S_HOP])
    at = _gap_or_entry(index, entries, pool, request[S_CUSTOMER], request[S_ACCOUNT], hop)
    if index[at] >= 0:
        return np.int64(index[at]), False
    number = sizes[0]
    sizes[0] += 1
    index[at] = number
    entry = entries[number]
    entry[POOL] = pool
    entry[CUSTOMER] = request[S_CUSTOMER]
    entry[ACCOUNT] = request[S_ACCOUNT]
    entry[HOP] = hop
    entry[FAMILY] = family
    entry[SUMS] = -1
    entry[SHARED] = 0
    return number, True


@compiled
def _add_request(sums: Words, request: Words) -> None:
    halves, octets = sums.view(np.int32), sums.view(np.uint8)
    own_halves, own_quarters = request.view(np.int32), request.view(np.uint16)
    own_octets, own_signed = request.view(np.uint8), request.view(np.int8)
    log_output = np.int64(own_quarters[S_LOG_OUTPUT])
    sums[C_LOG_INPUT] += np.int64(own_quarters[S_LOG_INPUT])
    sums[C_LOG_OUTPUT] += log_output
    sums[C_LOG_OUTPUT_SQUARED] += log_output * log_output
    sums[C_OUTPUT] += own_halves[S_OUTPUT]
    sums[C_BEFORE] = min(sums[C_BEFORE], request[S_BEFORE])
    sums[C_AFTER] = max(sums[C_AFTER], request[S_BEFORE] + 1)
    sums[C_FIRST_SEEN] = min(sums[C_FIRST_SEEN], request[S_FIRST_SEEN])
    sums[C_CREATED] = max(sums[C_CREATED], request[S_CREATED])
    if np.uint64(request[S_NETWORK]) > np.uint64(sums[C_NETWORK]):
        sums[C_NETWORK] = request[S_NETWORK]
    if np.uint64(request[S_PAYMENT]) > np.uint64(sums[C_PAYMENT]):
        sums[C_PAYMENT] = request[S_PAYMENT]
    octets[C_VERIFIED] = max(octets[C_VERIFIED], own_octets[S_VERIFIED])
    halves[C_REQUESTS] += 1
    bits = own_halves[S_BITS]
    for bit in range(_BITS):
        halves[C_BITS + bit] += (bits >> bit) & 1
    minute = own_quarters[S_MINUTE]
    halves[C_SINE] += SINE[minute]
    halves[C_COSINE] += COSINE[minute]
    squared: Whole = 0
    for place in range(PROJECTION_DIMENSIONS):
        value = np.int32(own_signed[S_PROJECTION + place])
        halves[C_PROJECTION + place] += value
        squared += value * value
    sums[C_PROJECTION_SQUARED] += squared
    at = C_TURNS + own_octets[S_TURN_PLACE]
    octets[at] = max(octets[at], own_octets[S_TURN_RANK])
    at = C_RESPONSES + own_octets[S_RESPONSE_PLACE]
    octets[at] = max(octets[at], own_octets[S_RESPONSE_RANK])


@compiled
def _add_sums(sums: Words, other: Words) -> None:
    halves, octets = sums.view(np.int32), sums.view(np.uint8)
    other_halves, other_octets = other.view(np.int32), other.view(np.uint8)
    for at in (C_LOG_INPUT, C_LOG_OUTPUT, C_LOG_OUTPUT_SQUARED, C_OUTPUT, C_PROJECTION_SQUARED):
        sums[at] += other[at]
    for at in (C_BEFORE, C_FIRST_SEEN):
        sums[at] = min(sums[at], other[at])
    for at in (C_AFTER, C_CREATED):
        sums[at] = max(sums[at], other[at])
    for at in (C_NETWORK, C_PAYMENT):
        if np.uint64(other[at]) > np.uint64(sums[at]):
            sums[at] = other[at]
    octets[C_VERIFIED] = max(octets[C_VERIFIED], other_octets[C_VERIFIED])
    for at in range(C_REQUESTS, C_PROJECTION + PROJECTION_DIMENSIONS):
        halves[at] += other_halves[at]
    for at in range(C_TURNS, 8 * SUM_WORDS):
        octets[at] = max(octets[at], other_octets[at])


@compiled
def _own_sums(entry: Words, requests: Words, sums: Words, sizes: Words) -> Words:
    """Give an entry sums of its own, where it has none or shares those of a cell."""
    if entry[SUMS] < 0 or entry[SHARED]:
        fresh = sums[sizes[2]]
        if entry[SHARED]:
            copy(sums[entry[SUMS]], fresh)
        else:
            clear(fresh)
            fresh[C_BEFORE] = _LEAST
            fresh[C_FIRST_SEEN] = _LEAST
            _add_request(fresh, requests[entry[REQUEST]])
        entry[SUMS] = sizes[2]
        entry[SHARED] = 0
        sizes[2] += 1
    own: Words = sums[entry[SUMS]]
    return own


@compiled
def add(
    pool: np.uint64,
    family: Whole,
    number: Whole,
    index: NDArray[np.int32],
    entries: Words,
    requests: Words,
    sums: Words,
    sizes: Words,
) -> None:
    """Add a kept request to a pool; there is room."""
    place, fresh = _entry_of(np.int64(pool), family, requests[number], index, entries, sizes)
    entry = entries[place]
    if fresh:
        entry[REQUEST] = number
    else:
        _add_request(_own_sums(entry, requests, sums, sizes), requests[number])


@compiled
def add_to_cell(
    number: Whole, index: NDArray[np.int32], entries: Words, requests: Words, sums: Words, sizes: Words
) -> None:
    """Add a kept request to the cell of all that it says of how it was made; there is room."""
    request = requests[number]
    key = mix(np.uint64(request[CONFIGURATION]))
    for at in (CLIENT, S_NETWORK, ADDRESS, COHORT, S_PAYMENT):
        key = mix(key ^ np.uint64(request[at]))
    young = np.uint64(request.view(np.int32)[S_BITS] & 1)
    key = mix(key ^ (np.uint64(request[SINGLE_TURN]) << _ONE | young))
    add(key, CELL, number, index, entries, requests, sums, sizes)


@compiled
def _give(
    pool: np.uint64,
    family: Whole,
    cell: Words,
    index: NDArray[np.int32],
    entries: Words,
    requests: Words,
    sums: Words,
    sizes: Words,
) -> None:
    place, fresh = _entry_of(np.int64(pool), family, requests[cell[REQUEST]], index, entries, sizes)
    entry = entries[place]
    if fresh:
        entry[REQUEST] = cell[REQUEST]
        entry[SUMS] = cell[SUMS]
        entry[SHARED] = np.int64(cell[SUMS] >= 0)
        return
    own = _own_sums(entry, requests, sums, sizes)
    if cell[SUMS] >= 0:
        _add_sums(own, sums[cell[SUMS]])
    else:
        _add_request(own, requests[cell[REQUEST]])


@compiled
def settle(  # noqa: C901 - one line for each family is what there is to read
    count: Whole, index: NDArray[np.int32], entries: Words, requests: Words, sums: Words, sizes: Words
) -> None:
    """Give what the cells among the first ``count`` entries hold to the pools of their families; there is room."""
    tally = (index, entries, requests, sums, sizes)
    for number in range(count):
        cell = entries[number]
        if cell[FAMILY] != CELL:
            continue
        request = requests[cell[REQUEST]]
        configuration = np.uint64(request[CONFIGURATION])
        network = np.uint64(request[S_NETWORK])
        if configuration:
            _give(pool_of(_CONFIGURATION, configuration), _CONFIGURATION, cell, *tally)
            if request[CLIENT]:
                pool = pool_of_two(_CONFIGURATION_CLIENT, configuration, np.uint64(request[CLIENT]))
                _give(pool, _CONFIGURATION_CLIENT, cell, *tally)
            if request[SINGLE_TURN]:
                pool = pool_of(_CONFIGURATION_SINGLE_TURN, configuration)
                _give(pool, _CONFIGURATION_SINGLE_TURN, cell, *tally)
            if request.view(np.int32)[S_BITS] & 1:
                _give(pool_of(_CONFIGURATION_YOUNG, configuration), _CONFIGURATION_YOUNG, cell, *tally)
            if request[COHORT]:
                pool = pool_of_two(_CONFIGURATION_COHORT, configuration, np.uint64(request[COHORT]))
                _give(pool, _CONFIGURATION_COHORT, cell, *tally)
            if network:
                pool = pool_of_two(_NETWORK_CONFIGURATION, network, configuration)
                _give(pool, _NETWORK_CONFIGURATION, cell, *tally)
        if network:
            _give(pool_of(_NETWORK, network), _NETWORK, cell, *tally)
        if request[ADDRESS]:
            _give(pool_of(_ADDRESS, np.uint64(request[ADDRESS])), _ADDRESS, cell, *tally)
        if request[S_PAYMENT]:
            _give(pool_of(_PAYMENT, np.uint64(request[S_PAYMENT])), _PAYMENT, cell, *tally)


@compiled
def cells(entries: Words, count: Whole) -> Whole:
    """Count the cells."""
    found = 0
    for number in range(count):
        found += entries[number, FAMILY] == CELL
    return found


@compiled
def place(entries: Words, count: Whole, partitions: Whole, firsts: Words) -> None:
    """Tell where each partition's contributions begin, those of one request in ``firsts[0]``, the others in ``[1]``.

    ``firsts`` has a column more than there are partitions: all of them; it comes as zeros.
    """
    for number in range(count):
        entry = entries[number]
        if entry[FAMILY] != CELL:
            owner = np.int64(np.uint64(entry[POOL]) % np.uint64(partitions))
            firsts[np.int64(entry[SUMS] >= 0), owner + 1] += 1
    for last in range(partitions):
        firsts[0, last + 1] += firsts[0, last]
        firsts[1, last + 1] += firsts[1, last]


@compiled
def write(
    entries: Words, count: Whole, requests: Words, sums: Words, next_of: Words, singles: Words, rows: Words
) -> None:
    """Write contributions, a partition's from its place in ``next_of`` on in the order in which they began.

    ``next_of`` is what ``place`` gave, and is moved on. Cells are no contributions.
    """
    partitions = np.uint64(next_of.shape[1] - 1)
    for number in range(count):
        entry = entries[number]
        if entry[FAMILY] == CELL:
            continue
        owner = np.int64(np.uint64(entry[POOL]) % partitions)
        several = np.int64(entry[SUMS] >= 0)
        at = next_of[several, owner]
        next_of[several, owner] = at + 1
        if not several:
            single = singles[at]
            copy(requests[entry[REQUEST], :SINGLE_WORDS], single)
            single[S_POOL] = entry[POOL]
            single.view(np.uint8)[S_FAMILY] = entry[FAMILY]
            # Two windows may tell of one coincidence: the prompt stands where other families have network and payment.
            if entry[FAMILY] == _COINCIDENCE:
                single[S_NETWORK] = single[S_PAYMENT] = requests[entry[REQUEST], TURN]
        else:
            row = rows[at]
            copy(sums[entry[SUMS]], row)
            row[C_POOL] = entry[POOL]
            row[C_CUSTOMER] = entry[CUSTOMER]
            row[C_ACCOUNT] = entry[ACCOUNT]
            row.view(np.int32)[C_HOP] = entry[HOP]
            row.view(np.uint8)[C_FAMILY] = entry[FAMILY]
            if entry[FAMILY] == _COINCIDENCE:
                row[C_NETWORK] = row[C_PAYMENT] = requests[entry[REQUEST], TURN]
