"""Closing a hop: one window for each account that was active in it, scored by half-space trees and then learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.detectors.half_space_trees import HalfSpaceTrees
from detection.features.accounts import NAMES, account_features, scaled
from detection.state.records import take
from detection.state.rows import PANES

if TYPE_CHECKING:
    from detection.columns import StructuredArray
    from detection.config import DetectionConfig
    from detection.state.store import RowStore

WINDOW: Final = np.dtype(
    [
        ("account", "<u8"),
        ("organization", "<u8"),  # That requests named, else that of the attributes; 0 where there is none.
        ("hop", "<i8"),
        ("requests", "<i8"),  # In this hop, as the next five.
        ("input_tokens", "<i8"),
        ("output_tokens", "<i8"),
        ("errors", "<i8"),
        ("late", "<i8"),  # Requests counted here whose own hop was closed already.
        ("total", "<i8"),  # Requests since the account was first seen.
        ("score", "<f8"),  # Half-space trees, 0..1, rounded to four places; 0 until their first window is full.
    ]
)
_DIGITS: Final = 4


def plant(config: DetectionConfig) -> HalfSpaceTrees:
    """Start the forest of one partition."""
    forest = config.forest
    return HalfSpaceTrees(forest.trees, forest.height, forest.window, seed=config.seed, names=NAMES)


def close_hop(store: RowStore, forest: HalfSpaceTrees, hop: int, learn_gap_hops: int) -> StructuredArray:
    """Give the windows of one hop in order of account, and teach the forest what it has just scored.

    The account that was learned less than ``learn_gap_hops`` hops ago is scored but not learned: volume buys no
    influence on what counts as normal.
    """
    pane = hop % PANES
    rows = store.rows
    active = np.flatnonzero(rows["pane_hop"][:, pane] == hop)
    active = active[np.argsort(rows["account"][active])]
    held = take(rows, active)
    windows = np.zeros(len(active), WINDOW)
    if not len(active):
        return windows
    learned = held["learned_hop"].astype(np.int64)
    learn = (learned == 0) | (hop + 1 - learned >= learn_gap_hops)
    scores = forest.score_learn_many(scaled(account_features(held)), learn)
    taught = active[learn]
    rows["learned_hop"][taught] = hop + 1
    store.touch(taught)
    windows["account"] = held["account"]
    windows["organization"] = np.where(held["organization"] > 0, held["organization"], held["attributes_organization"])
    windows["hop"] = hop
    windows["total"] = held["requests"]
    windows["score"] = np.round(scores, _DIGITS)
    for name, source in (
        ("requests", "pane_requests"),
        ("input_tokens", "pane_input"),
        ("output_tokens", "pane_output"),
        ("errors", "pane_errors"),
        ("late", "pane_late"),
    ):
        windows[name] = held[source][:, pane]
    return windows
