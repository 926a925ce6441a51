"""Whether both sides did the same job: what each has come to for every account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from broker import read

from detection.features.accounts import account_features
from detection.state.store import read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

TOLERANCE: Final = 2e-3  # The product's logarithms are fixed point, in steps of 1/1024; the peer's are floats.


def ours(servers: str) -> dict[str, NDArray[np.float64]]:
    """Give requests, tokens and features of each account by the product's state topic."""
    values = {key: value for _, _, key, value in read(servers, "accounts-state") if len(key) == 16 and value}
    rows = read_rows(list(values.values()))
    matrix = np.column_stack([rows["requests"], rows["input_tokens"], rows["output_tokens"], account_features(rows)])
    return {f"{account:016x}": line for account, line in zip(rows["account"].tolist(), matrix, strict=True)}


def peers(accounts: Mapping[str, list[float | None]]) -> dict[str, NDArray[np.float64]]:
    """Give the same of what a peer has told."""
    return {name: np.array([np.nan if one is None else one for one in line]) for name, line in accounts.items()}


def compare(one: Mapping[str, NDArray[np.float64]], other: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Count accounts that differ in requests or tokens, and tell the largest difference of any feature."""
    both = sorted(one.keys() & other.keys())
    left, right = np.array([one[name] for name in both]), np.array([other[name] for name in both])
    gaps = np.abs(left[:, 3:] - right[:, 3:])
    gaps[np.isnan(left[:, 3:]) & np.isnan(right[:, 3:])] = 0.0
    return {
        "accounts": len(both),
        "requests": float(left[:, 0].sum()),
        "accounts_on_one_side_only": len(one.keys() ^ other.keys()),
        "accounts_that_differ": int((left[:, :3] != right[:, :3]).any(axis=1).sum()),
        "features": gaps.shape[1],
        # A value on one side only is no small difference.
        "largest_feature_difference": float(np.nan_to_num(gaps, nan=np.inf).max()),
    }
