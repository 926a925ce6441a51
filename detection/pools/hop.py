"""One hop's contribution rows, merged to one row for each (pool, customer).

Rows of one key add up, whatever the blocks they came in and their order: the result is a function of the set of rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.columns import CUES
from detection.ids import mix
from detection.pools.layout import ACCOUNTS_KEPT, CUES_PLACE, MEMBER, SCALAR_SUMS, SUMS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detection.columns import Int64Array, StructuredArray, UInt64Array

    BoolArray = NDArray[np.bool_]

_NO_ACCOUNT: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_SLOT_COLUMNS: Final = ("account", "account_requests", "account_before", "account_after")


def group_starts(*keys: UInt64Array) -> Int64Array:
    """Give where each run of equal keys starts; the keys are sorted and not empty."""
    new = np.ones(len(keys[0]), bool)
    new[1:] = False
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(new)


def merge_rows(rows: StructuredArray) -> StructuredArray:
    """Merge contribution rows of one hop into ``MEMBER`` rows, sorted by pool and customer; ``rows`` is not empty."""
    order = np.lexsort((rows["account"], rows["customer"], rows["pool"]))
    pool, customer = rows["pool"][order], rows["customer"][order]
    starts = group_starts(pool, customer)
    merged = np.zeros(len(starts), MEMBER)
    merged["pool"], merged["customer"] = pool[starts], customer[starts]
    merged["hash"] = mix(merged["customer"])
    lone = np.diff(starts, append=len(order)) == 1
    _copy(merged, lone, rows[order[starts[lone]]])
    if not lone.all():
        crowd = np.repeat(~lone, np.diff(starts, append=len(order)))
        _reduce(merged, ~lone, rows[order[crowd]])
    return merged


def _sums(rows: StructuredArray) -> Int64Array:
    sums = np.empty((len(rows), SUMS), np.int64)
    for place, name in enumerate(SCALAR_SUMS):
        sums[:, place] = rows[name]
    sums[:, CUES_PLACE : CUES_PLACE + len(CUES)] = rows["cues"]
    return sums


def _copy(merged: StructuredArray, where: BoolArray, rows: StructuredArray) -> None:
    merged["sums"][where] = _sums(rows)
    for name in ("first_seen", "created_at", "network", "payment", "projection", "residuals", "responses", "verified"):
        merged[name][where] = rows[name]
    for target, source in zip(
        _SLOT_COLUMNS, ("account", "requests", "account_requests_before", "account_requests"), strict=True
    ):
        merged[target][where, 0] = rows[source]


def _reduce(merged: StructuredArray, where: BoolArray, rows: StructuredArray) -> None:
    pool, customer, account = rows["pool"], rows["customer"], rows["account"]
    starts = group_starts(pool, customer)
    merged["sums"][where] = np.add.reduceat(_sums(rows), starts, axis=0)
    merged["projection"][where] = np.add.reduceat(rows["projection"], starts, axis=0)
    merged["first_seen"][where] = np.minimum.reduceat(rows["first_seen"], starts)
    for name in ("created_at", "network", "payment", "verified"):
        merged[name][where] = np.maximum.reduceat(rows[name], starts)
    for name in ("residuals", "responses"):
        merged[name][where] = np.maximum.reduceat(rows[name], starts, axis=0)
    # Accounts of a customer, ascending: the first of them are kept.
    singles = group_starts(pool, customer, account)
    owner = np.searchsorted(starts, singles, side="right") - 1
    rank = np.arange(len(singles)) - np.searchsorted(owner, owner)
    kept = rank < ACCOUNTS_KEPT
    place = (np.flatnonzero(where)[owner[kept]], rank[kept])
    merged["account"][place] = account[singles][kept]
    merged["account_requests"][place] = np.add.reduceat(rows["requests"].astype(np.int64), singles)[kept]
    merged["account_before"][place] = np.minimum.reduceat(rows["account_requests_before"], singles)[kept]
    merged["account_after"][place] = np.maximum.reduceat(rows["account_requests"], singles)[kept]
    merged["more_accounts"][np.flatnonzero(where)[owner[~kept]]] = 1


def add_members(table: StructuredArray, slots: Int64Array, rows: StructuredArray) -> None:
    """Add merged rows onto existing rows of the same (pool, customer), in place; ``slots`` are distinct."""
    table["sums"][slots] += rows["sums"]
    table["projection"][slots] += rows["projection"]
    table["first_seen"][slots] = np.minimum(table["first_seen"][slots], rows["first_seen"])
    for name in ("created_at", "network", "payment", "residuals", "responses", "verified"):
        table[name][slots] = np.maximum(table[name][slots], rows[name])
    more = np.maximum(table["more_accounts"][slots], rows["more_accounts"])
    same = (table["account"][slots] == rows["account"]).all(axis=1)
    where = slots[same]
    _add_accounts(table, where, rows[same])
    where, others = slots[~same], rows[~same]
    overflow = _merge_accounts(table, where, others)
    more[~same] = np.maximum(more[~same], overflow)
    table["more_accounts"][slots] = more


def _add_accounts(table: StructuredArray, slots: Int64Array, rows: StructuredArray) -> None:
    present = rows["account"] != 0
    table["account_requests"][slots] += rows["account_requests"]
    before, after = table["account_before"][slots], table["account_after"][slots]
    table["account_before"][slots] = np.where(present, np.minimum(before, rows["account_before"]), 0)
    table["account_after"][slots] = np.maximum(after, rows["account_after"])


def _merge_accounts(table: StructuredArray, slots: Int64Array, rows: StructuredArray) -> Int64Array:
    """Merge two ascending lists of accounts and keep the smallest ids; give 1 where some were left out."""
    account, requests, before, after = (
        np.concatenate([table[name][slots], rows[name]], axis=1) for name in _SLOT_COLUMNS
    )
    account[account == 0] = _NO_ACCOUNT
    order = np.argsort(account, axis=1, kind="stable")
    account, requests, before, after = (np.take_along_axis(c, order, 1) for c in (account, requests, before, after))
    # An account stands at most twice, once from each side, and then side by side.
    twin = np.zeros(account.shape, bool)
    twin[:, 1:] = (account[:, 1:] == account[:, :-1]) & (account[:, 1:] != _NO_ACCOUNT)
    first = np.roll(twin, -1, axis=1)
    requests[first] += requests[twin]
    before[first] = np.minimum(before[first], before[twin])
    after[first] = np.maximum(after[first], after[twin])
    account[twin] = _NO_ACCOUNT
    order = np.argsort(account, axis=1, kind="stable")
    account, requests, before, after = (np.take_along_axis(c, order, 1) for c in (account, requests, before, after))
    absent = account == _NO_ACCOUNT
    account[absent] = requests[absent] = before[absent] = after[absent] = 0
    for name, column in zip(_SLOT_COLUMNS, (account, requests, before, after), strict=True):
        table[name][slots] = column[:, :ACCOUNTS_KEPT]
    overflow: Int64Array = (account[:, ACCOUNTS_KEPT] != 0).astype(np.int64)
    return overflow
