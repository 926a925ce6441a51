"""What a search for identifiers sees: every form in which the jobs and the gateways write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detection.accounts.step import AccountsStep
from detection.columns import EVENT, Flag
from detection.config import Clocking, DetectionConfig
from detection.incidents.step import IncidentsStep
from detection.pools.step import PoolsStep
from schemas.contributions import encode_blocks
from services.adapters.kafka.mentions import find, pattern_of
from services.adapters.kafka.reading import Lying
from tests.stream_jobs.findings import finding

if TYPE_CHECKING:
    from detection.columns import StructuredArray

ACCOUNT, ORGANISATION, NOBODY = 0x1122334455667788, 0x99AABBCCDDEEFF01, 0x0102030405060708
PARTITION = 0


def requests(*times: int) -> StructuredArray:
    """Requests of three accounts of as many customers with one template, the account that is looked for among them."""
    events = np.zeros(3 * len(times), EVENT)
    events["time"] = np.repeat(times, 3)
    events["account"] = np.tile([ACCOUNT, 7, 8], len(times))
    events["organization"] = np.tile(np.array([ORGANISATION, 17, 18], np.uint64), len(times))
    events["prefix"] = 5
    events["configuration"], events["bias"], events["output_tokens"], events["flags"] = 77, 99, 1, int(Flag.LOGPROBS)
    return events


def test_every_form_in_which_the_jobs_write_an_identifier_is_found() -> None:
    config = DetectionConfig()
    hop = Clocking().hop_ms
    accounts = AccountsStep(config, None, PARTITION)
    accounts.apply(requests(*range(1000, 50_000, 1000)), np.arange(3 * 49))
    accounts.advance(3 * hop, 1000)
    outcome = accounts.take()
    blocks = list(encode_blocks(PARTITION, outcome.closed_hop, -1, outcome.contributions))
    pools = PoolsStep(config, None, PARTITION, 1)
    pools.add(PARTITION, outcome.contributions, outcome.closed_hop, 0)
    incidents = IncidentsStep(config, 1, 1)
    incidents.add(finding("pool", 1, f"{5:016x}", [ACCOUNT, 7, 8], 4.0))
    rows = dict(zip(*accounts.dirty(), strict=True))
    kept = {
        "account rows": [value or b"" for key, value in rows.items() if len(key) == 16],
        "probes": [rows[b"probes"] or b""],
        "contributions": blocks,
        "pools": [value or b"" for value in pools.dirty()[1]],
        "incidents": [incidents.state()],
    }
    for what, values in kept.items():
        assert any(map(pattern_of([f"{ACCOUNT:016x}"]).search, values)), what
        assert not any(map(pattern_of([f"{NOBODY:016x}"]).search, values)), what
    for what in ("account rows", "contributions", "pools"):
        assert any(map(pattern_of([f"{ORGANISATION:016x}"]).search, kept[what])), what


def test_a_log_is_judged_by_every_record_and_a_compacted_topic_by_the_newest_of_each_key() -> None:
    name = f"{ACCOUNT:016x}"
    says, silent = name.encode(), b"nothing"
    records = [
        Lying(0, 0, b"a", says, 10),
        Lying(0, 1, b"b", says, 20),
        Lying(0, 2, b"a", silent, 30),
        Lying(0, 3, b"c", says, 40),
        Lying(0, 4, says, b"by its key", 50),
        Lying(0, 5, b"c", None, 60),
        Lying(0, 6, b"b", says + b"again", 25),
    ]
    log = find(records, pattern_of([name]), compacted=False)
    assert (log.records, log.newest_ms, log.values) == (5, 50, {})
    kept = find(records, pattern_of([name]), compacted=True)
    assert (kept.records, kept.newest_ms) == (2, 50)
    assert kept.values == {b"b": says + b"again", says: b"by its key"}
    assert find(records, pattern_of([f"{NOBODY:016x}"]), compacted=True).newest_ms is None
