"""Every table of the product on one metadata: importing this knows them all, as migrations need it."""

from __future__ import annotations

from typing import Final

from services.adapters.postgres import (
    identity_tables,
    lifecycle_tables,
    models,
    proposals,
    tables,
    trials,
    webhook_tables,
)

METADATA: Final = tables.Base.metadata
ROOMS: Final = (tables, identity_tables, lifecycle_tables, models, proposals, trials, webhook_tables)
