"""Questions to everything else: the database and its clock, the disk, and what runs."""

from __future__ import annotations

import platform
import shutil
from typing import TYPE_CHECKING, Final

import confluent_kafka
from sqlalchemy import text

from services.adapters.postgres import migrate
from services.doctor.finding import Finding

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from services.adapters.clock import Clock

SKEW_SECONDS: Final = 5.0
OLDEST_SERVER: Final = 160000  # As server_version_num has it.
LEAST_FREE: Final = 2 << 30


def schema(engine: Engine) -> Finding:
    """Tell whether the database has this version's schema, takes writes, and is new enough."""
    migrate.require_head(engine)
    with engine.connect() as connection:
        read_only = connection.execute(text("SELECT current_setting('transaction_read_only')")).scalar_one()
        number = int(connection.execute(text("SELECT current_setting('server_version_num')")).scalar_one())
    if read_only != "off":
        return Finding("database", "failed", "it takes no writes", "Name the primary in STILLWATCH_DATABASE_URL.")
    if number < OLDEST_SERVER:
        return Finding("database", "failed", f"PostgreSQL {number // 10000} is too old", "Take PostgreSQL 16 or newer.")
    return Finding("database", "ok", f"PostgreSQL {number // 10000}, at the schema of this version")


def clock(engine: Engine, ours: Clock) -> Finding:
    """Tell how far the database's clock is from this machine's."""
    with engine.connect() as connection:
        before = ours.now_ms()
        theirs = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
        after = ours.now_ms()
    skew = theirs - (before + after) / 2000
    if abs(skew) > SKEW_SECONDS + (after - before) / 2000:
        advice = (
            "Set both clocks by NTP: leases, sessions and expiries are held against the one, alerts against the other."
        )
        return Finding("database clock", "failed", f"{skew:+.1f} s from this machine's", advice)
    return Finding("database clock", "ok", f"{skew:+.1f} s from this machine's")


def disk(folder: Path) -> Finding:
    """Tell whether there is room for spools, flight records and embedded data."""
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    usage = shutil.disk_usage(place)
    free = f"{usage.free / (1 << 30):.1f} GiB of {usage.total / (1 << 30):.0f} free"
    if usage.free < LEAST_FREE:
        return Finding(
            "disk", "failed", free, f"Make room, or name another folder than {place} in STILLWATCH_BASE_DIR."
        )
    if usage.free < usage.total // 10:
        return Finding("disk", "warning", free, "Less than a tenth is left: make room before a spool needs it.")
    return Finding("disk", "ok", free)


def versions(product: str) -> Finding:
    """Say what runs, for whoever is told of a fault."""
    library = confluent_kafka.libversion()[0]
    told = f"stillwatch {product}, Python {platform.python_version()}, librdkafka {library}, {platform.machine()}"
    return Finding("versions", "ok", told)
