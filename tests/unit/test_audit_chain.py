"""The audit's chain where identifiers were forgotten: what a later row vouches for is whole, and nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from services.adapters.postgres import audit

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def chain(*acts: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, (action, after) in enumerate(acts, 1):
        row: dict[str, Any] = {
            "tenant": "acme",
            "seq": number,
            "at": NOW,
            "actor": "ana",
            "action": action,
            "subject": f"thing/{number}",
            "before": None,
            "after": after,
            "previous_hash": rows[-1]["hash"] if rows else audit.FIRST_HASH,
        }
        rows.append(row | {"hash": audit.link_hash(row)})
    return rows


def forgetting(rows: list[dict[str, Any]], *numbers: int) -> dict[str, Any]:
    """What the row says that tells of changed rows, as they read now."""
    return {"audit": {str(number): audit.link_hash(rows[number - 1]).hex() for number in numbers}}


def test_a_row_that_a_later_one_vouches_for_is_whole_as_it_reads_now() -> None:
    rows = chain(("entitlement.added", {"subject": "old"}), ("alert.closed", {"state": "closed"}))
    rows[0]["after"] = {"subject": "new"}
    before = audit.walk(rows)
    assert (before.whole, before.broken_at, before.rows, before.reason) == (False, 1, 0, "the row was changed")
    told = chain(
        ("entitlement.added", {"subject": "old"}),
        ("alert.closed", {"state": "closed"}),
        (audit.FORGOTTEN, forgetting(rows, 1)),
    )
    told[0]["after"] = {"subject": "new"}
    found = audit.walk(told)
    assert (found.whole, found.rows, set(found.forgotten)) == (True, 3, {1})


def test_a_change_that_nothing_tells_of_is_seen_before_and_after_the_telling() -> None:
    acts = [("entitlement.added", {"subject": "old"}), ("alert.closed", {"state": "closed"})]
    read = chain(*acts)
    read[0]["after"] = {"subject": "new"}
    rows = chain(*acts, (audit.FORGOTTEN, forgetting(read, 1)))
    rows[0]["after"] = {"subject": "newer"}  # After the telling.
    assert audit.walk(rows).broken_at == 1
    rows[0]["after"] = {"subject": "new"}
    rows[1]["after"] = {"state": "open"}  # A row that was not told of.
    found = audit.walk(rows)
    assert (found.broken_at, found.rows, found.head) == (2, 1, rows[0]["hash"].hex())
    rows[1]["after"] = {"state": "closed"}
    assert audit.walk(rows).whole
    rows[2]["after"] = {"audit": {}}  # The telling itself.
    assert audit.walk(rows).broken_at == 1


def test_a_row_can_be_changed_twice_and_only_the_last_telling_counts() -> None:
    acts = [("entitlement.added", {"subject": "old", "owner": "other"})]
    once, twice = chain(*acts), chain(*acts)
    once[0]["after"] = {"subject": "new", "owner": "other"}
    twice[0]["after"] = {"subject": "new", "owner": "third"}
    rows = chain(*acts, (audit.FORGOTTEN, forgetting(once, 1)), (audit.FORGOTTEN, forgetting(twice, 1)))
    rows[0]["after"] = once[0]["after"]
    assert audit.walk(rows).whole  # It read so for a while; the chain cannot tell that from now.
    rows[0]["after"] = twice[0]["after"]
    assert set(audit.walk(rows).forgotten) == {1}
