"""A head or bars from a file: what the topic ``models`` carries, as ``stillwatch models export`` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from detection.ranking.bars import Bars
from detection.ranking.head import TrainedHead
from schemas.model_version import BARS, SUPERVISED, ModelVersion
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class HeadFileError(StillwatchError):
    """The file is no published version of the model that was asked for."""

    hint = "Give a file that `stillwatch models export` has written, with the --model that is meant."


def read_head(path: Path | None) -> ModelVersion | None:
    """Read a head; None where no file is named. Raises HeadFileError."""
    return _read(path, SUPERVISED, TrainedHead.of)


def read_bars(path: Path | None) -> ModelVersion | None:
    """Read bars; None where no file is named. Raises HeadFileError."""
    return _read(path, BARS, Bars.of)


def _read(path: Path | None, model: str, reader: Callable[[ModelVersion], object]) -> ModelVersion | None:
    if path is None:
        return None
    try:
        version = msgspec.json.decode(path.read_bytes(), type=ModelVersion)
        if version.model == model:
            reader(version)
    except (OSError, msgspec.DecodeError, ValueError) as error:
        raise HeadFileError(f"{path.name} cannot be read: {error}") from error
    if version.model != model:
        raise HeadFileError(f"{path.name} holds a version of {version.model}, not of {model}")
    return version
