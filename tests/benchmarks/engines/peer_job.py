"""What all peers share: the windows, River's trees, and the notes that they leave for the benchmark.

Nothing of the product is imported, for a peer lives in an environment of its own; the rules come from ``PEER_RULES``.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from plain_features import AccountState, features
from river import anomaly

if TYPE_CHECKING:
    from collections.abc import Mapping

RULES: dict[str, Any] = json.loads(os.environ["PEER_RULES"])
HOP_MS: int = RULES["hop_ms"]
LIMITS = {name: (low, high) for name, low, high in RULES["features"]}
LOW = {name: low for name, (low, _) in LIMITS.items()}
_ABSENT: dict[str, Any] = {
    "organization": "",
    "gen_ai_usage_input_tokens": 0,
    "gen_ai_usage_output_tokens": 0,
    "gen_ai_usage_reasoning_output_tokens": 0,
    "gen_ai_request_choice_count": 1,
    "error_type": "",
    "logprobs": False,
    "logit_bias": "",
    "multi_turn": False,
    "sketch": None,
}
_ABSENT_OF_A_SKETCH: dict[str, Any] = {"boundaries": "", "last_turn": "", "response": "", "flags": 0}


def plant() -> Any:
    """Make the half-space trees of one process."""
    return anomaly.HalfSpaceTrees(
        n_trees=RULES["trees"],
        height=RULES["height"],
        window_size=RULES["window"],
        limits=LIMITS,
        seed=RULES["seed"],
    )


def score(forest: Any, state: AccountState) -> float:
    """Score the account, then learn it."""
    vector = LOW | features(state)
    found = float(forest.score_one(vector))
    forest.learn_one(vector)
    return found


def read(record: Mapping[str, Any]) -> Any:
    """Give a decoded record as an object with the fields of RequestEvent v1."""
    event = SimpleNamespace(**(_ABSENT | dict(record)))
    if event.sketch is not None:
        event.sketch = SimpleNamespace(**(_ABSENT_OF_A_SKETCH | event.sketch))
    return event


def window(account: str, state: AccountState, found: float) -> dict[str, Any]:
    """Write an account's window."""
    return {
        "account": account,
        "hop": state.hop,
        "requests": state.hop_requests,
        "input_tokens": state.hop_input,
        "output_tokens": state.hop_output,
        "errors": state.hop_errors,
        "total_requests": state.requests,
        "score": found,
    }


class Marks:
    """Notes the process's CPU time at two counts of requests, and at the second one what each account has come to."""

    def __init__(self) -> None:
        self._warm, self._end = map(int, os.environ["PEER_MARKED"].split(","))
        self._path = Path(os.environ["PEER_MARKS"])
        self._count = 0
        self._began = 0.0
        self._states: dict[str, AccountState] = {}

    def counted(self, account: str, state: AccountState) -> None:
        """Take note of one request."""
        self._count += 1
        self._states[account] = state
        if self._count == self._warm:
            self._began = time.process_time()
        elif self._count == self._end:
            self._tell(time.process_time() - self._began)

    def _tell(self, cpu_seconds: float) -> None:
        names = list(LIMITS)
        accounts = {}
        for account, state in self._states.items():
            vector = features(state)
            numbers = [state.requests, state.input_tokens, state.output_tokens]
            accounts[account] = [*numbers, *(vector.get(name) for name in names)]
        told = {"cpu_seconds": cpu_seconds, "accounts": accounts}
        # Renamed when it is whole: the benchmark waits for the name.
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(told), encoding="utf-8")
        draft.rename(self._path)
