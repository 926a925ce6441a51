"""Account rows in memory, by slot. Slots are handed out in order of arrival and never show in a result.

Compiled loops reach the rows through ``arguments``; Python asks for copies as ``ACCOUNT_ROW``. Growing adds a segment
and moves no row. A loop that may add rows or registers needs room for them first: ``reserve``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detection.ids import to_hex
from detection.state import places
from detection.state import values as wire
from detection.state.rows import (
    ACCOUNT_ROW,
    DENSE_WORDS,
    HEAD,
    ROW_WORDS,
    VERSION,
    WIDTH,
    RowVersionError,
    offset_of,
    upgrade_v1,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detection.columns import Int64Array, StructuredArray, UInt64Array

SlotArray: TypeAlias = NDArray[np.int64]
_FIRST_INDEX: Final = 1 << 10
_ROWS_USED, _ROWS_FREE, _DENSE_USED, _DENSE_FREE, _DIRTY = range(5)
_BLOCK: Final = 4096  # Rows read or written at once.
_LONGEST: Final = ROW_WORDS + DENSE_WORDS + 2  # Words of a changelog value.


class RowStore:
    """Rows of the accounts that the partition has met and not forgotten."""

    def __init__(self) -> None:
        self._keys = np.zeros(_FIRST_INDEX, np.uint64)
        self._slots = np.full(_FIRST_INDEX, -1, np.int32)
        self._counts = np.zeros(5, np.int64)
        self._free = np.zeros(0, np.int32)
        self._dense_free = np.zeros(0, np.int32)
        self._dirty = np.zeros(0, np.int32)
        self._rows: tuple[Int64Array, ...] = (np.zeros(0, np.int64),) * places.SEGMENTS
        self._dense: tuple[Int64Array, ...] = self._rows
        self._gone: set[int] = set()
        self.reserve(1, 1)

    def __len__(self) -> int:
        return int(self._counts[_ROWS_USED] - self._counts[_ROWS_FREE])

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Index, rows, registers, free lists, dirty list and counts, as the compiled loops take them."""
        return (
            self._keys,
            self._slots,
            self._rows,
            self._dense,
            self._free,
            self._dense_free,
            self._dirty,
            self._counts,
        )

    @property
    def _used(self) -> int:
        return int(self._counts[_ROWS_USED])

    def reserve(self, rows: int, registers: int) -> None:
        """Make room for so many new rows and registers."""
        counts = self._counts
        capacity, dense = len(self._free), len(self._dense_free)
        while capacity - counts[_ROWS_USED] + counts[_ROWS_FREE] < rows:
            self._rows, capacity = _grown(self._rows, ROW_WORDS)
        while dense - counts[_DENSE_USED] + counts[_DENSE_FREE] < registers:
            self._dense, dense = _grown(self._dense, DENSE_WORDS)
        self._free, self._dirty = _longer(self._free, capacity), _longer(self._dirty, capacity)
        self._dense_free = _longer(self._dense_free, dense)
        size = len(self._keys)
        while size < 2 * (len(self) + rows):
            size *= 2
        if size > len(self._keys):
            self._index(size)

    def _index(self, size: int) -> None:
        self._keys, self._slots = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
        places.index_again(self._keys, self._slots, self._rows, self._used)

    def slots_of(self, accounts: UInt64Array) -> SlotArray:
        """Find each account's slot, making an empty row where there is none."""
        found = np.empty(len(accounts), np.int64)
        for start in range(0, len(accounts), _BLOCK):
            part = np.ascontiguousarray(accounts[start : start + _BLOCK])
            self.reserve(len(part), 0)
            target = found[start : start + len(part)]
            places.slots_of(part, target, self._keys, self._slots, self._rows, self._free, self._counts)
        return found

    def in_pane(self, pane: int, hop: int) -> SlotArray:
        """Find the rows that have something in a hop, in order of account."""
        found = np.empty(self._used, np.int64)
        found = found[: places.in_pane(self._rows, self._used, pane, hop, found)]
        return found[np.argsort(self._column("account", found))]

    def read(self, slots: SlotArray) -> StructuredArray:
        """Copy rows as ``ACCOUNT_ROW``, in the order given."""
        words = np.empty((len(slots), WIDTH // 8), np.int64)
        places.write_out_many(slots, self._rows, self._dense, words)
        return words.view(ACCOUNT_ROW).reshape(-1)

    def write(self, slots: SlotArray, name: str, values: NDArray[Any]) -> None:
        """Set a field of one number of distinct rows; they have changed then."""
        width = HEAD[name].itemsize
        put = places.put_words if width == places.WORD else places.put_halves
        put(slots, offset_of(name) // width, values.astype(np.int64), self._rows, self._dirty, self._counts)

    def _column(self, name: str, slots: SlotArray) -> UInt64Array:
        values = np.empty(self._used, np.int64)
        places.column(self._rows, self._used, offset_of(name) // places.WORD, values)
        return values[slots].view(np.uint64)

    def forget(self, idle_since: int, maximum: int) -> int:
        """Forget accounts last seen before a time, and of more than ``maximum`` the oldest; give their number.

        Those that have attributes and made no request yet are not idle, and the last to go. Of equal age the smaller
        account goes first.
        """
        used = np.arange(self._used)
        account, seen, created = (self._column(name, used) for name in ("account", "last_seen", "created_at"))
        silent = seen == 0
        alive = self._column("version", used) > 0
        gone = alive & ~silent & (seen < np.uint64(max(idle_since, 0)))
        excess = int(np.count_nonzero(alive & ~gone)) - maximum
        if excess > 0:
            # A sixteenth more than is needed: the next hops' accounts then find room without another round.
            left = np.flatnonzero(alive & ~gone)
            order = np.lexsort((account[left], np.where(silent[left], created[left], seen[left]), silent[left]))
            gone[left[order[: excess + maximum // 16]]] = True
        slots = np.flatnonzero(gone)
        if len(slots):
            self._gone.update(account[slots].tolist())
            dirty = self._dirty[: self._counts[_DIRTY]]
            dirty = dirty[~gone[dirty]]
            self._dirty[: len(dirty)] = dirty
            self._counts[_DIRTY] = len(dirty)
            places.forget(slots, self._rows, self._free, self._dense_free, self._counts)
            self._index(len(self._keys))
        return len(slots)

    def take_dirty(self) -> tuple[list[bytes], list[bytes | None]]:
        """Give keys (16 hexadecimal digits) and values of the rows changed since the last call, in order of account.

        After them come those that were forgotten, with None.
        """
        slots = self._dirty[: self._counts[_DIRTY]].astype(np.int64)
        self._counts[_DIRTY] = 0
        accounts = self._column("account", slots)
        order = np.argsort(accounts)
        keys = list(_names(accounts[order]))
        values: list[bytes | None] = []
        for start in range(0, len(slots), _BLOCK):
            part = slots[order[start : start + _BLOCK]]
            raw, ends = np.empty(len(part) * _LONGEST, np.int64), np.empty(len(part), np.int64)
            wire.encode(part, self._rows, self._dense, raw, ends)
            octets, cuts = raw[: ends[-1]].tobytes(), [0, *(ends * places.WORD).tolist()]
            values += [octets[cuts[place] : cuts[place + 1]] for place in range(len(part))]
        gone = sorted(self._gone - set(accounts.tolist()))
        self._gone = set()
        return keys + [to_hex(account).encode() for account in gone], values + [None] * len(gone)

    def load(self, values: Sequence[bytes]) -> None:
        """Put rows of any known version in place, in order: the later of two rows of one account wins.

        Raises RowVersionError.
        """
        for start in range(0, len(values), _BLOCK):
            for old, part in _by_version(values[start : start + _BLOCK]):
                if old:
                    rows = upgrade_v1(part)
                    slots = self._slots_for(np.ascontiguousarray(rows["account"]))
                    words = rows.view(np.int64).reshape(len(rows), -1)
                    wire.load_written_out(words, slots, self._rows, self._dense, self._dense_free, self._counts)
                else:
                    raw, starts = _words(part)
                    accounts = np.empty(len(part), np.uint64)
                    wire.accounts_of(raw, starts, accounts)
                    slots = self._slots_for(accounts)
                    wire.load(raw, starts, slots, self._rows, self._dense, self._dense_free, self._counts)

    def _slots_for(self, accounts: UInt64Array) -> SlotArray:
        slots = self.slots_of(accounts)
        self.reserve(0, len(slots))
        return slots


def read_rows(values: Sequence[bytes]) -> StructuredArray:
    """Read changelog values of any known version as ``ACCOUNT_ROW``, in order; raises RowVersionError."""
    parts: list[StructuredArray] = [np.zeros(0, ACCOUNT_ROW)]
    for old, part in _by_version(values):
        if old:
            parts.append(upgrade_v1(part))
        else:
            raw, starts = _words(part)
            target = np.zeros((len(part), WIDTH // 8), np.int64)
            wire.decode_out(raw, starts, target)
            parts.append(target.view(ACCOUNT_ROW).reshape(-1))
    return np.concatenate(parts)


def _by_version(values: Sequence[bytes]) -> Iterator[tuple[bool, Sequence[bytes]]]:
    """Cut into runs of one version: whether they are of version 1, and the run."""
    versions = [version_of(value) for value in values]
    for version in set(versions) - {1, VERSION}:
        raise RowVersionError(f"version {version}; this release reads 1 and {VERSION}")
    start = 0
    for stop in range(1, len(values) + 1):
        if stop == len(values) or versions[stop] != versions[start]:
            yield versions[start] == 1, values[start:stop]
            start = stop


def _words(values: Sequence[bytes]) -> tuple[Int64Array, Int64Array]:
    """Join values of version 2: their words, and where each begins, with the end of the last."""
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    if (lengths % places.WORD).any():
        raise RowVersionError(f"a row of version {VERSION} is no whole number of words")
    raw = np.frombuffer(bytearray().join(values), np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths // places.WORD)])
    if not wire.well_formed(raw, starts):
        raise RowVersionError(f"a row of version {VERSION} is not as long as its masks say")
    return raw, starts


def _names(accounts: UInt64Array) -> Iterator[bytes]:
    """Write accounts as 16 hexadecimal digits each."""
    digits = accounts.astype(">u8").tobytes().hex().encode()
    return (digits[start : start + 16] for start in range(0, len(digits), 16))


def _grown(segments: tuple[Int64Array, ...], width: int) -> tuple[tuple[Int64Array, ...], int]:
    """Add a segment, as large as all before it; give the new capacity in rows, too."""
    there = [segment for segment in segments if len(segment)]
    capacity = sum(len(segment) for segment in there) // width
    added = capacity or places.FIRST
    there.append(np.zeros(added * width, np.int64))
    rest = segments[len(there) :]
    return (*there, *rest), capacity + added


def _longer(array: NDArray[np.int32], length: int) -> NDArray[np.int32]:
    return array if len(array) == length else np.concatenate([array, np.zeros(length - len(array), np.int32)])
