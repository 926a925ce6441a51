"""What every unit test is given."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """Leave no logger behind that writes to a test's captured stream, which is closed by then."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        logging.basicConfig(handlers=[logging.NullHandler()], level=logging.WARNING, force=True)
