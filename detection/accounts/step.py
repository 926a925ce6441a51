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

from detection.accounts.accumulate import accumulate
from detection.accounts.contributions import build_contributions
from detection.accounts.derive import Derived, derive
from detection.accounts.lane import MilestoneLane, MilestoneVectors
from detection.accounts.probes import ProbeCounter
from detection.accounts.windows import WINDOW, close_hop, plant
from detection.detectors.half_space_trees import ForeignStateError
from detection.state.rows import PANES
from detection.state.store import RowStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import Int64Array, StructuredArray
    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from detection.outcomes import Finding

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

    contributions: StructuredArray
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
        self._config = config
        self._latest = -1
        self._closed = -1
        self._began = -1
        self._store = RowStore()
        self._forest = plant(config)
        self._forest_changed = False
        self._lane = MilestoneLane(config, references, collect=collect)
        self._probes = ProbeCounter(config)
        self._pieces: list[Derived] = []
        self._windows: list[StructuredArray] = []
        self._late = 0

    @property
    def accounts(self) -> int:
        """How many accounts have a row."""
        return len(self._store)

    def apply(self, events: StructuredArray, offsets: Int64Array) -> None:
        """Count requests (``EVENT``), by ascending offset; those at or below ``applied`` are skipped."""
        skipped = int(np.searchsorted(offsets, self.applied, side="right"))
        events, offsets = events[skipped:], offsets[skipped:]
        if not len(events):
            return
        time = np.ascontiguousarray(events["time"])
        if self._began < 0:
            self._began = int(time[0])
        latest = np.maximum(np.maximum.accumulate(time), self._latest)
        closed = self._closed_at(latest)
        borders = np.flatnonzero(np.diff(closed, prepend=self._closed) > 0).tolist()
        for start, stop in zip([0, *borders], [*borders, len(events)], strict=True):
            if stop > start:
                self._close(int(closed[start]))
                self._count(events[start:stop], offsets[start:stop])
        self._latest = int(latest[-1])
        self.applied = int(offsets[-1])

    def advance(self, time_ms: int, offset: int) -> None:
        """Take a heartbeat of ``requests``: event time has reached ``time_ms``."""
        if offset <= self.applied:
            return
        if self._began < 0:
            self._began = time_ms
        self._latest = max(self._latest, time_ms)
        self._close(int(self._closed_at(np.array([self._latest]))[0]))
        self.applied = offset

    def _closed_at(self, latest: Int64Array) -> Int64Array:
        """Give the last hop that is closed when event time has come this far."""
        clocking = self._config.clocking
        return np.maximum((latest - clocking.lateness_ms) // clocking.hop_ms - 1, self._closed)

    def _close(self, closed: int) -> None:
        if closed > self._closed:
            self._probes.close(closed)
        # No row has a pane more than PANES hops past the last closed one.
        for hop in range(self._closed + 1, min(closed, self._closed + PANES) + 1):
            windows = close_hop(self._store, self._forest, hop, self._config.forest.learn_gap_hops)
            if len(windows):
                self._windows.append(windows)
                self._forest_changed = True
        self._closed = closed

    def _count(self, events: StructuredArray, offsets: Int64Array) -> None:
        piece = derive(
            self._store,
            events,
            offsets,
            hop_ms=self._config.clocking.hop_ms,
            closed=self._closed,
            began=self._began,
            lane=self._config.pools,
        )
        waves = self._lane.waves(piece)
        if waves is None:
            accumulate(self._store, piece)
        else:
            for wave in range(int(waves.max()) + 1):
                part = piece.part(np.flatnonzero(waves == wave))
                accumulate(self._store, part)
                self._lane.read(self._store, part)
        self._probes.count(piece)
        self._pieces.append(piece)
        self._late += int(np.count_nonzero(piece.late))

    def apply_attributes(self, rows: StructuredArray, offsets: Int64Array) -> None:
        """Take account attributes (``ATTRIBUTES``), by ascending offset; an account's newest hold from here on."""
        skipped = int(np.searchsorted(offsets, self.applied_attributes, side="right"))
        rows, offsets = rows[skipped:], offsets[skipped:]
        if not len(rows):
            return
        slots = self._store.slots_of(np.ascontiguousarray(rows["account"]))
        latest = dict(zip(slots.tolist(), range(len(slots)), strict=True))
        slots, rows = np.array(list(latest), np.intp), rows[list(latest.values())]
        held = self._store.rows
        for name, source in (
            ("created_at", "created_at"),
            ("attributes_organization", "organization"),
            ("payment", "payment"),
            ("signup_network", "signup_network"),
            ("verified", "verified"),
        ):
            held[name][slots] = rows[source]
        self._store.touch(slots)
        self.applied_attributes = int(offsets[-1])

    def take(self) -> AccountsOutcome:
        """Give what was decided since the last call, and start afresh."""
        findings, vectors = self._lane.take()
        outcome = AccountsOutcome(
            contributions=build_contributions(self._pieces),
            closed_hop=self._closed,
            findings=findings + self._probes.take(),
            windows=np.concatenate(self._windows) if self._windows else np.zeros(0, WINDOW),
            late=self._late,
            vectors=vectors,
        )
        self._pieces, self._windows, self._late = [], [], 0
        return outcome

    def dirty(self) -> tuple[list[bytes], list[bytes]]:
        """Give keys and bytes of the state rows that changed since the last call; each holds its version and asof."""
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
        meta = _Meta(self.applied, self.applied_attributes, self._latest, self._closed, self._began)
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
        self._latest, self._closed, self._began = meta.latest, meta.closed, meta.began
