"""Chunks shorter than the row's ring of prompts: what the row answers needs nothing of the chunk."""

from __future__ import annotations

import numpy as np

from detection.accounts.step import AccountsStep
from detection.columns import EVENT, Flag
from detection.config import DetectionConfig


def test_a_chunk_of_one_multi_turn_request_is_counted_as_in_a_long_one() -> None:
    events = np.zeros(6, EVENT)
    events["time"] = 1_760_000_000_000 + np.arange(6) * 1_000
    events["account"] = 7
    events["configuration"] = 5
    events["flags"] = int(Flag.MULTI_TURN)
    events["boundaries"] = np.arange(24).reshape(6, 4) + 1
    events["boundaries"][4, 0] = events["boundaries"][2, -1]  # The fifth continues the third.
    whole, single = (AccountsStep(DetectionConfig(), None, 0) for _ in range(2))
    whole.apply(events, np.arange(6))
    for place in range(6):
        single.apply(events[place : place + 1], np.array([place]))
    expected, found = (step.take().contributions.written_out() for step in (whole, single))
    assert expected["continued"].sum() > 0
    assert found.tobytes() == expected.tobytes()
