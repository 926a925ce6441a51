from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

pytestmark = [pytest.mark.integration]
EXACT = {"lost": 0, "extra": 0, "duplicates": 0, "wrong_rows": 0}


def test_counts_every_record_once(trial: Any) -> None:
    for place in range(0, 50, 3):
        trial.send(b"key-%d" % place, b'{"weight": 3}', topic="attributes")
    trial.producer.flush(10)
    dice = random.Random(1)
    trial.spawn()
    for place in range(3_000):
        trial.send(
            b"key-%d" % dice.randrange(50),
            json.dumps({"t": 10**6 + place * 5 - dice.randrange(400), "x": place}).encode(),
        )
    trial.finish()
    verdict = trial.verdict()
    assert verdict.pop("outputs") > 500
    assert verdict == EXACT
