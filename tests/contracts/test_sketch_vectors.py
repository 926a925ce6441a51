"""The sketch is a contract between gateways: two versions that differ cannot be compared, so these bytes stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detection.text.conversation import Conversation, Turn
from detection.text.keys import TextKey
from detection.text.sketch import Sketcher

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("sketch_vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: str(case["name"]))
def test_a_sketch_is_what_it_was(case: dict[str, Any]) -> None:
    turns = tuple(Turn(role, text) for role, text in case["turns"])
    sketcher = Sketcher(TextKey(bytes.fromhex(VECTORS["key"])))
    sketch = sketcher.sketch(Conversation(turns, Turn("assistant", case["response"])))
    expected = case["sketch"]
    for name in ("ladder", "projection", "segments", "boundaries"):
        assert getattr(sketch, name).hex() == expected[name], name
    assert (sketch.last_turn, sketch.response, sketch.flags) == tuple(
        expected[name] for name in ("last_turn", "response", "flags")
    )
