"""Records of a file, one by one, each with the number of the line it began on.

A file is JSON lines, or one JSON array, or lines of arrays (batches). A file read whole is one array only; lines are
read one at a time and at most 64 MB of each.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from services.errors import StillwatchError
from services.gateway.parsed import RejectedRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

MAXIMUM_LINE_BYTES: Final = 64 << 20
_WHITE: Final = b" \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"

Numbered: TypeAlias = tuple[int, dict[str, Any] | RejectedRecord]


class SourceFileError(StillwatchError):
    """The file cannot be read."""

    hint = "Name a file that exists and that you may read."


def read_lines(path: Path) -> Iterator[tuple[int, bytes | RejectedRecord]]:
    """Give the lines that are not blank, numbered from 1; raises SourceFileError."""
    with _open(path) as file:
        number = 0
        while line := file.readline(MAXIMUM_LINE_BYTES + 1):
            number += 1
            if len(line) > MAXIMUM_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAXIMUM_LINE_BYTES)
                yield number, RejectedRecord("too_large", f"a line has at most {MAXIMUM_LINE_BYTES} bytes")
                continue
            if number == 1:
                line = line.removeprefix(_BOM)
            if line.strip(_WHITE):
                yield number, line


def read_objects(path: Path) -> Iterator[Numbered]:
    """Give the objects of a file of JSON; every one that cannot be had is a rejection. Raises SourceFileError."""
    for number, line in read_lines(path):
        if isinstance(line, RejectedRecord):
            yield number, line
            continue
        try:
            value = decode(line)
        except RejectedRecord as rejected:
            if number == 1 and line.lstrip(_WHITE).startswith(b"["):
                yield from _read_array(path)  # An array over several lines.
                return
            yield number, rejected
            continue
        for entry in value if isinstance(value, list) else [value]:
            yield number, entry if isinstance(entry, dict) else RejectedRecord("not_an_object", "JSON, but no object")


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[Numbered]:
    """Give the rows of a CSV file with a header, each by the header's names; raises SourceFileError."""
    lines = read_lines(path)
    for number, line in lines:
        if isinstance(line, RejectedRecord):
            yield number, line
            continue
        cells = next(csv.reader([line.decode("utf-8", "replace").strip()]), [])
        if number == 1 and [cell.strip() for cell in cells] == list(columns):
            continue
        if len(cells) != len(columns):
            yield number, RejectedRecord("not_an_object", f"a row has {len(columns)} cells")
        else:
            yield number, dict(zip(columns, cells, strict=True))


def decode(data: bytes) -> Any:
    """Decode JSON, lone surrogates and NaN included, as gateways in Python write them; raises RejectedRecord."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise RejectedRecord("not_json", "the line is not JSON") from None


def _read_array(path: Path) -> Iterator[Numbered]:
    with _open(path) as file:
        try:
            value = decode(file.read().removeprefix(_BOM))
        except RejectedRecord as rejected:
            yield 1, rejected
            return
    for place, entry in enumerate(value, start=1):
        yield place, entry if isinstance(entry, dict) else RejectedRecord("not_an_object", "JSON, but no object")


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceFileError(f"{path} cannot be read: {error.strerror}") from error
