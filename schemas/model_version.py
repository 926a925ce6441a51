"""ModelVersion v1: a published model's parameters, on the compacted topic ``models``, keyed by model and stage."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

SUPERVISED: Final = "supervised"  # The head: orders alerts.
BARS: Final = "bars"  # What each lane's threshold is multiplied with before anything is raised.
Stage = Literal["shadow", "live", "retired"]


class ModelVersion(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="model_version.v1"
):
    """``parameters`` is plain JSON (never a pickle): names to numbers. ``stage`` says whether it has a say.

    A retired version stands in the live one's place, so that readers of the compacted topic hear of the end too.
    """

    model: str
    version: int
    stage: Stage  # A person promotes from shadow to live, and retires.
    trained_on: int  # Alerts whose verdict had a part in it.
    positives: int  # Confirmed ones among them.
    created_at: str
    parameters: dict[str, float]


def model_key(model: str, stage: Literal["shadow", "live"]) -> bytes:
    """Give the record key. Compaction keeps one record a key: a promoted version outlives the next shadow."""
    return f"{model}/{stage}".encode()
