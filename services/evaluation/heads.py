"""A head from a file: what the topic ``models`` carries, as ``stillwatch models export`` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from detection.ranking.head import TrainedHead
from schemas.model_version import ModelVersion
from services.errors import StillwatchError

if TYPE_CHECKING:
    from pathlib import Path


class HeadFileError(StillwatchError):
    """The file is no published head."""

    hint = "Give a file that `stillwatch models export` has written."


def read_head(path: Path | None) -> ModelVersion | None:
    """Read a head; None where no file is named. Raises HeadFileError."""
    if path is None:
        return None
    try:
        version = msgspec.json.decode(path.read_bytes(), type=ModelVersion)
        TrainedHead.of(version)
    except (OSError, msgspec.DecodeError, ValueError) as error:
        raise HeadFileError(f"{path.name} cannot be read: {error}") from error
    return version
