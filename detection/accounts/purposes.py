"""Purposes that no honest account pursues so much: sequential evidence with a stated bound on false alarms.

A tail caps what one feature may say, so an account that does one thing alone, and far more of it than anybody honest,
stays below every threshold of a sum. Here each purpose is asked by itself: of n requests with text, s were of that
kind; had the account done no more of it than the honest account that did most (share p), how likely is that?

The evidence is the Krichevsky-Trofimov mixture's likelihood against p: n KL(s / n, p) - ln(n) / 2 - ln 2 nats at
least. It is an e-process, so by Ville's inequality an account whose share is p or less ever reaches ln(1 / alpha) with
probability alpha at most for each purpose, however often it is looked at (Ramdas et al. 2023, arXiv 2210.01948). What
that does not cover is an honest account of a kind that the reference has never seen.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import Float64Array
    from detection.detectors.reference import Reference

DETECTOR: Final = "purpose_evidence"
PURSUED: Final = "pursued_purpose"  # Of facts that are no suspicion alone; see detection.incidents.kindred.
PURPOSES: Final = (
    "cue_boundary",
    "cue_grading",
    "cue_identity",
    "cue_reasoning",
    "cue_synthesis",
    "choices_share",
    "echo_share",
    "refusal_share",
    "repeated_turns",
)
_LEAST_SHARE: Final = 0.02  # Where no honest account did any, one request in fifty is still no purpose.
_NEVER: Final = 1e-12


class Purposes:
    """The largest honest share of each purpose that ``reference`` has seen, and evidence against it."""

    def __init__(self, reference: Reference) -> None:
        held = [
            name for name in PURPOSES if name in reference.names and reference.quantiles[reference.names.index(name)]
        ]
        self.names: Sequence[str] = held
        self.places = [reference.names.index(name) for name in held]
        most = [reference.quantiles[place][-1] for place in self.places]
        self.most_honest: Float64Array = np.maximum(np.array(most, np.float64), _LEAST_SHARE)

    def evidence(self, matrix: Float64Array, seen: Float64Array) -> Float64Array:
        """Give nats of evidence, 0 where there is none, shape ``(accounts, len(names))``.

        ``matrix`` has the reference's columns, ``seen`` the number of requests with text of each account.
        """
        count = np.maximum(seen, 1.0)[:, None]
        share = np.clip(np.nan_to_num(matrix[:, self.places]), 0.0, 1.0)
        limit = np.minimum(self.most_honest, 1.0 - _NEVER)
        inside = np.clip(share, _NEVER, 1.0 - _NEVER)
        distance = inside * np.log(inside / limit) + (1.0 - inside) * np.log((1.0 - inside) / (1.0 - limit))
        nats = count * distance - np.log(count) / 2.0 - math.log(2.0)
        found: Float64Array = np.where(share > limit, np.maximum(nats, 0.0), 0.0)
        return found
