"""Where identifiers stand on a topic: in keys and values, as digits in JSON and as the eight bytes that rows have.

A compacted topic is judged by the newest record of each key, for that is what anybody is given for ever; what was
replaced goes from the disk with ``max.compaction.lag.ms``. Other topics are judged by each record that they still have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.adapters.kafka.reading import Lying


@dataclass(frozen=True, slots=True)
class Mentions:
    """``newest_ms`` is the append time of the newest record that mentions one, None where none does.

    ``values`` are those records' values by their keys, of a compacted topic only.
    """

    records: int
    newest_ms: int | None
    values: Mapping[bytes, bytes]


def pattern_of(names: Iterable[str]) -> re.Pattern[bytes]:
    """Give what finds any of these identifiers (16 hexadecimal digits each) in bytes of any form that we write."""
    forms: set[bytes] = set()
    for name in names:
        raw = bytes.fromhex(name)
        forms |= {name.encode("ascii"), raw, raw[::-1]}
    return re.compile(b"|".join(re.escape(form) for form in sorted(forms)))


def find(records: Iterable[Lying], pattern: re.Pattern[bytes], *, compacted: bool) -> Mentions:
    """Look through records in the order of their offsets; a key lives in one partition."""
    count = 0
    newest: dict[bytes, int] = {}
    values: dict[bytes, bytes] = {}
    latest: int | None = None
    for record in records:
        key, value = record.key or b"", record.value or b""
        hit = record.value is not None and bool(pattern.search(key) or pattern.search(value))
        if not compacted:
            if hit:
                count += 1
                latest = max(latest or 0, record.time_ms)
        elif hit:
            newest[key], values[key] = record.time_ms, value
        else:
            newest.pop(key, None)
            values.pop(key, None)
    if compacted:
        return Mentions(len(newest), max(newest.values(), default=None), values)
    return Mentions(count, latest, values)
