"""The accounts step: requests of one partition in, contributions, windows and findings out.

``apply`` takes requests in offset order, any number at a time. A hop closes at the exact request (or heartbeat) whose
time brings the watermark past the hop's end: the chunk is cut there, so that neither chunks nor ``take`` nor a restart
from what ``dirty`` and ``meta`` gave can change a result. Event time only; nothing here knows a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detection.accounts import counting
from detection.accounts.lane import MilestoneLane, MilestoneVectors
from detection.accounts.probes import ProbeCounter
from detection.accounts.tally import Tally
from detection.accounts.windows import WINDOW, close_hop, plant
from detection.detectors.half_space_trees import ForeignStateError
from detection.state.rows import ACCOUNT_ROW, PANES, WIDTH
from detection.state.store import RowStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import Int64Array, StructuredArray
    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from detection.outcomes import Finding
    from detection.pools.contributions import Contributions

_FIRST_MARKS: Final = 256
_ROOM: Final = 1024  # Rows, registers and requests: what there is at least after each pause of the loop.
FOREST_KEY: Final = b"forest"  # Account keys are 16 hexadecimal digits.
PROBES_KEY: Final = b"probes"


class _Meta(msgspec.Struct, frozen=True, array_like=True, tag="accounts.v1"):
    applied: int
    applied_attributes: int
    latest: int
    closed: int
    began: int


@dataclass(frozen=True, slots=True)
class AccountsOutcome:
    """What a partition decided since the last ``take``.

    ``contributions`` has one row for each (hop, family, pool, customer, account). ``closed_hop`` is the last closed
    hop, -1 for none: nothing for it or any hop before it will come again. ``windows`` are rows of ``WINDOW`` by hop and
    account. ``late`` counts requests whose own hop was closed. ``vectors`` is empty unless the step collects.
    """

    contributions: Contributions
    closed_hop: int
    findings: list[Finding]
    windows: StructuredArray
    late: int
    vectors: list[MilestoneVectors]


class AccountsStep:
    """State of one partition of ``requests``.

    ``applied`` and ``applied_attributes`` are the last applied offsets of the two topics, -1 at first. With ``collect``
    the feature vectors of accounts at their milestones come out too, to build references from. Raises ValueError where
    the configuration lets more hops be open at once than a row has panes.
    """

    def __init__(
        self, config: DetectionConfig, references: References | None, partition: int, *, collect: bool = False
    ) -> None:
        clocking = config.clocking
        if clocking.lateness_ms > (PANES - 1) * clocking.hop_ms:
            raise ValueError(f"lateness_ms must be at most {PANES - 1} hop, for account rows have {PANES} panes")
        self.partition = partition
        self.applied = -1
        self.applied_attributes = -1
        self.forest_restarted = False
        self.forgotten = 0
        self._config = config
        self._clock = np.array([-1, -1, -1, 0, 0], np.int64)  # As detection.accounts.counting has it.
        self._rules = np.array(
            [clocking.hop_ms, clocking.lateness_ms, config.pools.young_ms, config.pools.cohort_ms], np.int64
        )
        self._store = RowStore()
        self._tally = Tally()
        self._marks = np.empty((_FIRST_MARKS, counting.MARK_WORDS), np.int64)
        self._forest = plant(config)
        self._forest_changed = False
        self._lane = MilestoneLane(config, references, collect=collect)
        self._probes = ProbeCounter(config)
        self._windows: list[StructuredArray] = []

    @property
    def accounts(self) -> int:
        """How many accounts have a row."""
        return len(self._store)

    @property
    def closed_hop(self) -> int:
        """The last closed hop, -1 for none."""
        return int(self._clock[counting.CLOSED])

    def apply(self, events: StructuredArray, offsets: Int64Array) -> None:
        """Count requests (``EVENT``), by ascending offset; those at or below ``applied`` are skipped."""
        skipped = int(np.searchsorted(offsets, self.applied, side="right"))
        events, offsets = events[skipped:], offsets[skipped:]
        if not len(events):
            return
        if self._clock[counting.BEGAN] < 0:
            self._clock[counting.BEGAN] = events["time"][0]
        words = np.ascontiguousarray(events).view(np.int64).reshape(len(events), -1)
        offsets = np.ascontiguousarray(offsets, np.int64)
        place, why = self._count(events, words, offsets, 0)
        while why != counting.DONE:
            if why == counting.CLOSES:
                self._close(self._closed_at(int(words[place, 0])))
            else:
                self._make_room()
            place, why = self._count(events, words, offsets, place)
        self.applied = int(offsets[-1])

    def _count(self, events: StructuredArray, words: Int64Array, offsets: Int64Array, start: int) -> tuple[int, int]:
        stop, why = counting.count_events(
            words,
            offsets,
            start,
            self._store.arguments,
            self._tally.arguments,
            self._lane.is_milestone,
            self._marks,
            self._clock,
            self._rules,
        )
        probing = self._probes.asking(events[start:stop])
        if len(probing):
            self._probes.count(events[start:stop][probing], self._tally.latest(stop - start)[probing])
        return stop, why

    def _make_room(self) -> None:
        self._store.reserve(_ROOM, _ROOM)
        self._tally.reserve(_ROOM)
        self._read_marks()

    def _read_marks(self) -> None:
        marks = self._marks[: self._clock[counting.MARKS]]
        if len(marks):
            row = WIDTH // 8
            rows = np.ascontiguousarray(marks[:, :row]).view(ACCOUNT_ROW).reshape(-1)
            hops, customers, counts, settings = marks[:, row:].T
            self._lane.read(rows, hops, counts, customers.astype(np.uint64), settings.astype(np.uint64))
            self._clock[counting.MARKS] = 0

    def advance(self, time_ms: int, offset: int) -> None:
        """Take a heartbeat of ``requests``: event time has reached ``time_ms``."""
        if offset <= self.applied:
            return
        if self._clock[counting.BEGAN] < 0:
            self._clock[counting.BEGAN] = time_ms
        closed = self._closed_at(time_ms)
        self._clock[counting.LATEST] = max(int(self._clock[counting.LATEST]), time_ms)
        self._close(closed)
        self.applied = offset

    def _closed_at(self, time_ms: int) -> int:
        """Give the last hop that is closed when event time has come this far."""
        clocking = self._config.clocking
        latest = max(int(self._clock[counting.LATEST]), time_ms)
        return max((latest - clocking.lateness_ms) // clocking.hop_ms - 1, self.closed_hop)

    def _close(self, closed: int) -> None:
        before = self.closed_hop
        if closed <= before:
            return
        self._probes.close(closed)
        # No row has a pane more than PANES hops past the last closed one.
        for hop in range(before + 1, min(closed, before + PANES) + 1):
            windows, learned = close_hop(self._store, self._forest, hop, self._config.forest)
            self._windows.append(windows)
            self._forest_changed |= learned
        self._clock[counting.CLOSED] = closed
        lane = self._config.accounts
        idle_since = (closed + 1) * self._config.clocking.hop_ms - lane.idle_ms
        self.forgotten += self._store.forget(idle_since, lane.maximum_accounts)

    def apply_attributes(self, rows: StructuredArray, offsets: Int64Array) -> None:
        """Take account attributes (``ATTRIBUTES``), by ascending offset; an account's newest hold from here on."""
        skipped = int(np.searchsorted(offsets, self.applied_attributes, side="right"))
        rows, offsets = rows[skipped:], offsets[skipped:]
        if not len(rows):
            return
        slots = self._store.slots_of(np.ascontiguousarray(rows["account"]))
        latest = dict(zip(slots.tolist(), range(len(slots)), strict=True))
        slots, rows = np.array(list(latest), np.int64), rows[list(latest.values())]
        for name, source in (
            ("created_at", "created_at"),
            ("attributes_organization", "organization"),
            ("payment", "payment"),
            ("verified", "verified"),
        ):
            self._store.write(slots, name, rows[source])
        self.applied_attributes = int(offsets[-1])

    def take(self, pools_partitions: int = 1) -> AccountsOutcome:
        """Give what was decided since the last call, and start afresh.

        Contributions come in the order of the so many partitions of the pools job that own their pools.
        """
        self._read_marks()
        findings, vectors = self._lane.take()
        outcome = AccountsOutcome(
            contributions=self._tally.take(pools_partitions),
            closed_hop=self.closed_hop,
            findings=findings + self._probes.take(),
            windows=np.concatenate(self._windows) if self._windows else np.zeros(0, WINDOW),
            late=int(self._clock[counting.LATE]),
            vectors=vectors,
        )
        self._windows, self._clock[counting.LATE] = [], 0
        return outcome

    def dirty(self) -> tuple[list[bytes], list[bytes | None]]:
        """Give keys and bytes of the state rows that changed since the last call; None for what is forgotten."""
        keys, values = self._store.take_dirty()
        if self._forest_changed:
            keys.append(FOREST_KEY)
            values.append(self._forest.dump())
            self._forest_changed = False
        if self._probes.changed:
            keys.append(PROBES_KEY)
            values.append(self._probes.dump())
            self._probes.changed = False
        return keys, values

    def meta(self) -> bytes:
        """Give the partition's own row: positions, event time and the last closed hop."""
        latest, closed, began = self._clock[: counting.BEGAN + 1].tolist()
        meta = _Meta(self.applied, self.applied_attributes, latest, closed, began)
        return msgspec.json.encode(meta)

    def load(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Take rows that ``dirty`` gave, in order; the later of two rows of one key wins.

        Raises RowVersionError for a row of an unknown version. A forest of another configuration is of no use after a
        release or a new seed: it starts afresh, and ``forest_restarted`` says so.
        """
        own = {FOREST_KEY, PROBES_KEY}
        self._store.load([value for key, value in zip(keys, values, strict=True) if key not in own])
        for value in [value for key, value in zip(keys, values, strict=True) if key == PROBES_KEY][-1:]:
            self._probes.load(value)
        forests = [value for key, value in zip(keys, values, strict=True) if key == FOREST_KEY]
        if forests:
            try:
                self._forest.load(forests[-1])
            except ForeignStateError:
                self.forest_restarted = True

    def load_meta(self, raw: bytes) -> None:
        """Take what ``meta`` gave; raises msgspec.DecodeError or msgspec.ValidationError."""
        meta = msgspec.json.decode(raw, type=_Meta)
        self.applied, self.applied_attributes = meta.applied, meta.applied_attributes
        self._clock[: counting.BEGAN + 1] = meta.latest, meta.closed, meta.began
