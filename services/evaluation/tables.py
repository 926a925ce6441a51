"""Numeric tables from files: NumPy archives, CSV and Parquet, as one matrix of rows in the order of the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from zipfile import BadZipFile

import numpy as np

from services.errors import StillwatchError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Matrix: TypeAlias = "NDArray[np.float64]"

LABEL: Final = "y"  # Whatever carries this name is an answer, and is never looked at.


class UnreadableTableError(StillwatchError):
    """The file holds no table of numbers."""

    hint = "Give a .npz with an array `X` of rows and columns, a .csv with a line of names, or a .parquet."


@dataclass(frozen=True, slots=True)
class NumericTable:
    """``matrix`` has one row for each of the file's, NaN where there is no number; ``ignored`` names other columns."""

    names: tuple[str, ...]
    matrix: Matrix
    ignored: tuple[str, ...]


def read_table(path: Path) -> NumericTable:
    """Read a table by its suffix; raises UnreadableTableError."""
    readers = {".npz": _read_npz, ".npy": _read_npy, ".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UnreadableTableError(f"{path.name} is none of {', '.join(readers)}")
    if not path.is_file():
        raise UnreadableTableError(f"there is no file {path}", "Check the path.")
    table = reader(path)
    if not table.names or not len(table.matrix):
        raise UnreadableTableError(f"{path.name} holds no row or no column of numbers")
    return table


def _read_npz(path: Path) -> NumericTable:
    try:
        # Pickled objects stay shut: a table from elsewhere must not run code.
        with np.load(path, allow_pickle=False) as archive:
            name = "X" if "X" in archive.files else next((each for each in archive.files if each != LABEL), None)
            if name is None:
                raise UnreadableTableError(f"{path.name} has no array `X`")
            return _of_array(path, archive[name])
    except (ValueError, OSError, BadZipFile) as error:
        raise UnreadableTableError(f"{path.name} cannot be read: {error}") from error


def _read_npy(path: Path) -> NumericTable:
    try:
        return _of_array(path, np.load(path, allow_pickle=False))
    except (ValueError, OSError) as error:
        raise UnreadableTableError(f"{path.name} cannot be read: {error}") from error


def _of_array(path: Path, array: NDArray[Any]) -> NumericTable:
    if array.ndim != 2 or array.dtype.kind not in "biuf":  # noqa: PLR2004 - Rows and columns.
        raise UnreadableTableError(f"{path.name} holds no matrix of numbers, but {array.dtype} of shape {array.shape}")
    return NumericTable(tuple(f"x{place}" for place in range(array.shape[1])), array.astype(np.float64), ())


def _read_csv(path: Path) -> NumericTable:
    from pyarrow import ArrowInvalid, csv  # noqa: PLC0415 - 0.2 s and 40 MB that archives of NumPy do not need.

    try:
        return _of_columns(csv.read_csv(path))
    except ArrowInvalid as error:
        raise UnreadableTableError(f"{path.name} is no CSV: {str(error).partition(':')[0]}") from error


def _read_parquet(path: Path) -> NumericTable:
    from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415 - As for CSV.

    try:
        return _of_columns(parquet.read_table(path))
    except ArrowInvalid as error:
        raise UnreadableTableError(f"{path.name} is no Parquet file: {str(error).partition(':')[0]}") from error


def _of_columns(table: Any) -> NumericTable:
    from pyarrow import types  # noqa: PLC0415 - As for CSV.

    names, columns, ignored = [], [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if name == LABEL:
            continue
        if types.is_boolean(kind):
            column = column.cast("uint8")  # noqa: PLW2901 - The same column in the only form that NumPy takes as numbers.
        elif not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
            ignored.append(name)
            continue
        names.append(name)
        columns.append(column.cast("float64", safe=False).to_numpy(zero_copy_only=False))
    return NumericTable(tuple(names), np.column_stack(columns) if columns else np.empty((0, 0)), tuple(ignored))
