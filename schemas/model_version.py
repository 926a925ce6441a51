"""ModelVersion v1: a published model's parameters, on the compacted topic ``models``, keyed by model name."""

from __future__ import annotations

import msgspec


class ModelVersion(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="model_version.v1"
):
    """``parameters`` is plain JSON (never a pickle): names to numbers. ``stage`` says whether it may raise alerts."""

    model: str
    version: int
    stage: str  # "shadow" or "live"; a person promotes.
    trained_on: int  # Labels seen.
    positives: int
    created_at: str
    parameters: dict[str, float]
