"""The detector without one of its parts: what each brings is what is lost without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detection.config import DetectionConfig

_NEVER: Final = 1e12  # A threshold that nothing reaches.


def ablations(config: DetectionConfig) -> Iterator[tuple[str, DetectionConfig]]:
    """Give the name and the configuration of each: lanes with a switch are switched off, others never reach theirs."""
    for name in config.__struct_fields__:
        lane = getattr(config, name)
        fields = getattr(lane, "__struct_fields__", ())
        if "enabled" in fields:
            yield f"without {name}", msgspec.structs.replace(config, **{name: _replace(lane, enabled=False)})
        elif "threshold" in fields:
            yield f"without {name}", msgspec.structs.replace(config, **{name: _replace(lane, threshold=_NEVER)})


def _replace(lane: msgspec.Struct, **changes: float) -> msgspec.Struct:
    return msgspec.structs.replace(lane, **changes)
