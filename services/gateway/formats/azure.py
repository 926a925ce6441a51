"""The Azure LLM inference traces of 2023: ``TIMESTAMP,ContextTokens,GeneratedTokens``; no identity and no text.

**Accounts are synthetic**: each row goes to one of 256 by a hash of its time, with a heavy tail (account k of 256 takes
a share of about 1 / sqrt(k)), because the trace names none. Times are the trace's own, UTC. As with every trace without
identity: for throughput, timing and lengths, never for the rate of false alarms.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Any, Final

from services.gateway.parsed import ParsedRequest, RejectedRecord, as_count, as_time_ms

ACCOUNTS: Final = 256
_COUNT: Final = re.compile(r"\s*[0-9]{1,10}\s*", re.ASCII)
COLUMNS: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def parse(record: dict[str, Any]) -> ParsedRequest:
    """Parse one row as ``csv.DictReader`` gives it; raises RejectedRecord: ``schema`` or ``no_time``."""
    values = [record.get(name) for name in COLUMNS]
    if not all(isinstance(value, str) for value in values):
        raise RejectedRecord("schema", "the row has not the trace's three columns")
    stamp, context, generated = map(str, values)
    if not (_COUNT.fullmatch(context) and _COUNT.fullmatch(generated)):
        raise RejectedRecord("schema", "a token count is no number")
    place = int.from_bytes(hashlib.blake2b(stamp.encode(), digest_size=4).digest(), "little") / 2**32
    return ParsedRequest(
        natural_id=(),
        time_unix_ms=_time_ms(stamp),
        account_raw=f"azure-{int(ACCOUNTS * place**2):03d}",
        model="azure-trace",
        input_tokens=as_count(int(context)),
        output_tokens=as_count(int(generated)),
    )


def _time_ms(stamp: str) -> int:
    try:
        # The trace has seven decimals; six is what a datetime can hold.
        moment = datetime.fromisoformat(stamp.strip()[:26]).replace(tzinfo=UTC)
    except ValueError as error:
        raise RejectedRecord("no_time", "TIMESTAMP is no date and time") from error
    return as_time_ms(moment.timestamp())
