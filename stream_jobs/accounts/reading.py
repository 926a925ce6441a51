"""Records of the two source topics as columns, in offset order, and what is not counted, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from schemas.columns import Reject, decode_attributes, decode_events, decode_heartbeat
from stream_jobs.engine.job import Rejection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from detection.columns import Int64Array, StructuredArray
    from detection.config import Clocking
    from schemas.dead_letter import Reason
    from stream_jobs.engine.job import Batch

    Bools = NDArray[np.bool_]

REQUEST: Final = "request.v1"
ATTRIBUTES: Final = "account_attributes.v1"


@dataclass(slots=True)
class Requests:
    """Events of one batch, as ``EVENT`` rows with their offsets, and heartbeats as (time, offset) between them."""

    events: StructuredArray
    offsets: Int64Array
    heartbeats: list[tuple[int, int]]
    rejections: list[Rejection] = field(default_factory=list)

    def event_time(self) -> int | None:
        """Give the largest time that was accepted, in ms."""
        times = [time for time, _ in self.heartbeats]
        if len(self.events):
            times.append(int(self.events["time"].max()))
        return max(times, default=None)

    def pieces(self) -> Iterator[tuple[StructuredArray, Int64Array, tuple[int, int] | None]]:
        """Give runs of events, each with the heartbeat that follows it; the last one with None."""
        start = 0
        for time, offset in self.heartbeats:
            stop = int(np.searchsorted(self.offsets, offset))
            yield self.events[start:stop], self.offsets[start:stop], (time, offset)
            start = stop
        yield self.events[start:], self.offsets[start:], None


def read_requests(batch: Batch, clocking: Clocking) -> Requests:
    """Decode and check one batch of ``requests``.

    A record without a key is a heartbeat; any other key is the account's, or the record would be counted where the
    account's other records are not. Times too far from the broker's append time are refused: one far ahead would make
    everything after it late.
    """
    if None in batch.keys:
        places = np.array([place for place, key in enumerate(batch.keys) if key is not None], np.int64)
    else:
        places = np.arange(len(batch))
    keys = [key for key in batch.keys if key is not None]
    values = [value or b"" for key, value in zip(batch.keys, batch.values, strict=True) if key is not None]
    decoded = decode_events(values)
    rejections = _rejections(decoded.rejects, places, REQUEST)
    if decoded.rejects:
        places = places[decoded.kept]
        keys = [keys[place] for place in decoded.kept.tolist()]
    events = decoded.columns
    good = np.ones(len(events), np.bool_)
    if not _keys_match(keys, events):
        good = _matching(keys, events)
        rejections += _refuse(~good, places, "key_mismatch", "the record's key is not its account")
    ahead = events["time"] - batch.timestamps[places]
    for wrong, reason, detail in (
        (good & (ahead > clocking.future_ms), "time_in_future", "event time is ahead of the broker's append time"),
        (good & (ahead < -clocking.past_ms), "time_too_old", "event time is long before the broker's append time"),
    ):
        if wrong.any():
            rejections += _refuse(wrong, places, reason, detail)  # type: ignore[arg-type]  # two reasons of the table
            good &= ~wrong
    if not good.all():
        events, places = events[good], places[good]
    heartbeats: list[tuple[int, int]] = []
    if len(keys) < len(batch):
        heartbeats = list(_heartbeats(batch, clocking, rejections))
    return Requests(events, batch.offsets[places], heartbeats, rejections)


def read_attributes(batch: Batch) -> tuple[StructuredArray, Int64Array, list[Rejection]]:
    """Decode one batch of ``account-attributes``. A deleted record keeps what is known: rows forget by age alone."""
    places = np.array([place for place, value in enumerate(batch.values) if value is not None], np.int64)
    columns, kept, rejects = decode_attributes([value for value in batch.values if value is not None])
    rejections = _rejections(rejects, places, ATTRIBUTES)
    places = places[kept]
    keys = [batch.keys[place] or b"" for place in places.tolist()]
    if not _keys_match(keys, columns):
        good = _matching(keys, columns)
        wrong = places[~good].tolist()
        rejections += [
            Rejection(
                place, "key_mismatch" if batch.keys[place] else "null_key", "the key is not the account", ATTRIBUTES
            )
            for place in wrong
        ]
        columns, places = columns[good], places[good]
    return columns, batch.offsets[places], rejections


def _keys_match(keys: Sequence[bytes], rows: StructuredArray) -> bool:
    """Compare all at once: keys of 16 digits each that, joined, read as the accounts joined."""
    if not keys:
        return True
    joined = b"".join(keys)
    # The digits alone could be cut elsewhere, so that two wrong keys look like two right ones.
    return set(map(len, keys)) == {16} and joined == rows["account"].astype(">u8").tobytes().hex().encode()


def _matching(keys: Sequence[bytes], rows: StructuredArray) -> Bools:
    """Compare one by one."""
    accounts = rows["account"].tolist()
    return np.array([b"%016x" % account == key for account, key in zip(accounts, keys, strict=True)], np.bool_)


def _heartbeats(batch: Batch, clocking: Clocking, rejections: list[Rejection]) -> Iterator[tuple[int, int]]:
    for place, (key, value) in enumerate(zip(batch.keys, batch.values, strict=True)):
        if key is not None:
            continue
        heartbeat = decode_heartbeat(value or b"")
        if heartbeat is None:
            rejections.append(Rejection(place, "null_key", "no key, and no control record", REQUEST))
        elif heartbeat.time_unix_ms > int(batch.timestamps[place]) + clocking.future_ms:
            detail = "the control record's time is ahead of the broker's append time"
            rejections.append(Rejection(place, "time_in_future", detail, "heartbeat.v1"))
        else:
            yield heartbeat.time_unix_ms, int(batch.offsets[place])


def _refuse(
    wrong: np.ndarray[tuple[int], np.dtype[np.bool_]], places: Int64Array, reason: Reason, detail: str
) -> list[Rejection]:
    return [Rejection(place, reason, detail, REQUEST) for place in places[wrong].tolist()]


def _rejections(rejects: Sequence[Reject], places: Int64Array, schema: str) -> list[Rejection]:
    return [Rejection(int(places[reject.index]), reject.reason, reject.detail, schema) for reject in rejects]
