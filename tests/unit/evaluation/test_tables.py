"""Tables from files: what is a number, what is left out, and what is refused in a sentence."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from services.cli.main import app
from services.evaluation.tables import UnreadableTableError, read_table

if TYPE_CHECKING:
    from pathlib import Path

X = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])


def test_an_archive_gives_its_x_and_never_its_y(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    np.savez(path, y=np.array([[0.0], [1.0], [1.0]]), X=X)
    table = read_table(path)
    assert table.names == ("x0", "x1")
    np.testing.assert_array_equal(table.matrix, X)


def test_an_answer_is_not_taken_for_the_table(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    np.savez(path, y=X)
    with pytest.raises(UnreadableTableError, match="no array `X`"):
        read_table(path)


def test_an_array_of_numpy(tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", X[:, :1])
    assert read_table(tmp_path / "table.npy").matrix.shape == (3, 1)


def test_csv_and_parquet_give_their_columns_of_numbers(tmp_path: Path) -> None:
    columns = {"rate": [1.5, None, 3.0], "who": ["a", "b", "c"], "fast": [True, False, True], "y": [0, 1, 1]}
    parquet.write_table(pa.table(columns), tmp_path / "table.parquet")
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
    for name in ("table.parquet", "table.csv"):
        table = read_table(tmp_path / name)
        assert table.names == ("rate", "fast")
        assert table.ignored == ("who",)
        np.testing.assert_array_equal(table.matrix, [[1.5, 1.0], [np.nan, 0.0], [3.0, 1.0]])


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("table.txt", b"1,2", "is none of"),
        ("table.npz", b"not a zip", "cannot be read"),
        ("table.csv", b"a,b\n1\n", "is no CSV"),
        ("table.csv", b"a,b\nx,y\n", "no row or no column of numbers"),
        ("table.parquet", b"PAR?", "is no Parquet file"),
    ],
)
def test_what_is_no_table_is_told_in_a_sentence(tmp_path: Path, name: str, content: bytes, word: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableTableError, match=word):
        read_table(tmp_path / name)


def test_objects_stay_shut(tmp_path: Path) -> None:
    np.savez(tmp_path / "table.npz", X=np.array([[{}]], dtype=object))
    with pytest.raises(UnreadableTableError, match="cannot be read"):
        read_table(tmp_path / "table.npz")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableTableError, match="no file"):
        read_table(tmp_path / "table.csv")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["score", *arguments])


def test_the_command_scores_every_row_and_never_reads_the_answer(tmp_path: Path) -> None:
    rows = np.random.default_rng(4).normal(size=(500, 2))
    rows[400] = 30.0
    answers = np.zeros(500)
    np.savez(tmp_path / "one.npz", X=rows, y=answers)
    np.savez(tmp_path / "other.npz", X=rows, y=1.0 - answers)
    told = run(str(tmp_path / "one.npz"), "--out", str(tmp_path / "one.csv"), "--json")
    assert told.exit_code == 0
    assert json.loads(told.stdout)["rows"] == 500
    with (tmp_path / "one.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["row", "score"]
    assert max(lines, key=lambda line: float(line["score"]))["row"] == "400"
    again = run(str(tmp_path / "other.npz"), "--out", str(tmp_path / "other.csv"))
    assert again.exit_code == 0
    assert "500 rows of 2 columns" in again.stdout
    assert (tmp_path / "other.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
