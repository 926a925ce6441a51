"""Where commands look for public prompts and traces; worlds without them are written in the project's own texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

SHARED: Final = Path("../shared/data")
SharedData = Annotated[
    Path,
    typer.Option(
        "--shared-data", envvar="STILLWATCH_SHARED_DATA", help="Public prompts and traces, where the folder is there."
    ),
]
