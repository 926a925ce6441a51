"""Closing a hop: one window for each account that was active in it, scored by half-space trees and then learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.detectors.half_space_trees import HalfSpaceTrees
from detection.features.accounts import NAMES, account_features, scaled
from detection.state.rows import PANES

if TYPE_CHECKING:
    from detection.columns import StructuredArray
    from detection.config import DetectionConfig, Forest
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


def close_hop(store: RowStore, forest: HalfSpaceTrees, hop: int, rules: Forest) -> tuple[StructuredArray, bool]:
    """Give one hop's windows that are to be told, in order of account; then whether the forest has learned of any.

    The account that was learned less than ``learn_gap_hops`` ago is scored but not learned: volume buys no
    influence on what counts as normal.
    """
    pane = hop % PANES
    active = store.in_pane(pane, hop)
    if not len(active):
        return np.zeros(0, WINDOW), False
    held = store.read(active)
    learned = held["learned_hop"].astype(np.int64)
    learn = (learned == 0) | (hop + 1 - learned >= rules.learn_gap_hops)
    scores = np.round(forest.score_learn_many(scaled(account_features(held)), learn), _DIGITS)
    store.write(active[learn], "learned_hop", np.full(np.count_nonzero(learn), hop + 1))
    turn = (held["account"] + np.uint64(hop)) % np.uint64(rules.window_turns) == 0
    told = (scores >= rules.window_floor) | turn
    held, scores = held[told], scores[told]
    windows = np.zeros(len(held), WINDOW)
    windows["account"] = held["account"]
    windows["organization"] = np.where(held["organization"] > 0, held["organization"], held["attributes_organization"])
    windows["hop"] = hop
    windows["total"] = held["requests"]
    windows["score"] = scores
    for name, source in (
        ("requests", "pane_requests"),
        ("input_tokens", "pane_input"),
        ("output_tokens", "pane_output"),
        ("errors", "pane_errors"),
        ("late", "pane_late"),
    ):
        windows[name] = held[source][:, pane]
    return windows, bool(learn.any())
