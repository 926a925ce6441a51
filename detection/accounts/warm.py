"""Compiling the loops ahead of time: a process that is to answer at once does it before it takes on work.

`python -m detection.accounts.warm` does it after an installation, so that no first start has to.
"""

from __future__ import annotations

import numpy as np

from detection.accounts.step import AccountsStep
from detection.columns import ATTRIBUTES, EVENT
from detection.config import AccountLane, Clocking, DetectionConfig
from detection.wire.scanner import Scanner

_HOP_MS = 1_000


def warm_up() -> None:
    """Send a few requests through every loop of a step that nobody asks. Seconds at first, later next to nothing."""
    config = DetectionConfig(
        clocking=Clocking(hop_ms=_HOP_MS, lateness_ms=0),
        accounts=AccountLane(milestones=(2,), idle_ms=1, maximum_accounts=1),
    )
    events = np.zeros(24, EVENT)
    events["time"] = np.arange(24) * (_HOP_MS // 8)
    events["account"] = 1 + np.arange(24) % 2
    events["configuration"] = 1
    step = AccountsStep(config, None, 0, collect=True)
    step.apply_attributes(np.ones(1, ATTRIBUTES), np.zeros(1, np.int64))
    step.apply(events, np.arange(24))
    step.take()
    keys, values = step.dirty()
    kept = [(key, value) for key, value in zip(keys, values, strict=True) if value is not None]
    AccountsStep(config, None, 0).load(*map(list, zip(*kept, strict=True)))
    scanner = Scanner()
    scanner.read([b"{}"])
    scanner.remember([b"{}"], events[:1], np.zeros(1, np.int64))


if __name__ == "__main__":
    warm_up()
