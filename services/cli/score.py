"""``stillwatch score``: the shipped unsupervised ensemble over any table of numbers."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from detection.detectors.surprise import SurpriseEnsemble
from services.errors import ConfigurationError
from services.evaluation.tables import Matrix, NumericTable, read_table

TableFile = Annotated[Path, typer.Argument(help="A .npz (array `X`), .csv or .parquet; `y` is never looked at.")]
OutFile = Annotated[Path, typer.Option("--out", help="Write a line for each row here; the last column is `score`.")]

_BLOCK = 20_000  # Rows between two moves of the progress bar.
_LOUD_NATS = 7.0  # About one row in a thousand.


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("score")(score)


def score(
    table: TableFile,
    *,
    out: OutFile,
    seed: Annotated[int, typer.Option("--seed", help="Of the ensemble's cuts and samples.")] = 20261129,
    as_json: Annotated[bool, typer.Option("--json", help="Write the counts as JSON.")] = False,
) -> None:
    """Score each row of a table by how surprising it is after the rows before it.

    Scores are nats of tail probability: 7 is about one row in a thousand. The first 32 rows score 0, for nothing is
    known yet. The same table and seed give the same scores.
    """
    found = read_table(table)
    began = time.process_time()
    scores = _score(found, seed, quiet=as_json)
    seconds = time.process_time() - began
    try:
        with out.open("w", encoding="utf-8") as file:
            file.write("row,score\n")
            file.writelines(f"{row},{value:.6f}\n" for row, value in enumerate(scores.tolist()))
    except OSError as error:
        raise ConfigurationError(f"the scores cannot be written: {error.strerror}", "Choose another --out.") from error
    counts = {
        "rows": len(scores),
        "columns": len(found.names),
        "ignored_columns": list(found.ignored),
        "at_least_7_nats": int((scores >= _LOUD_NATS).sum()),
        "cpu_us_per_row": round(seconds / len(scores) * 1e6, 1),
    }
    if as_json:
        sys.stdout.write(json.dumps(counts) + "\n")
        return
    if found.ignored:
        Console(stderr=True).print(f"not numbers, so not looked at: {', '.join(found.ignored)}", markup=False)
    typer.echo(
        f"{counts['rows']:,} rows of {counts['columns']} columns, {counts['at_least_7_nats']:,} of them at 7 nats or "
        f"more; {counts['cpu_us_per_row']} us of CPU a row; scores in {out}"
    )


def _score(table: NumericTable, seed: int, *, quiet: bool) -> Matrix:
    ensemble = SurpriseEnsemble(seed=seed, names=table.names)
    parts = []
    with Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress:
        task = progress.add_task("scoring", total=len(table.matrix))
        for start in range(0, len(table.matrix), _BLOCK):
            parts.append(ensemble.score_learn_many(table.matrix[start : start + _BLOCK]))
            progress.update(task, advance=len(parts[-1]))
    return np.concatenate(parts)
