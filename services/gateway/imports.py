"""Objects that a setting names: ``module:attribute``."""

from __future__ import annotations

import importlib
from typing import Any

from services.errors import ConfigurationError


def import_named(name: str, setting: str) -> Any:
    """Import ``module:attribute``; raises ConfigurationError."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"{setting}: {name} cannot be imported: {type(error).__name__}", "Say module:attribute."
        ) from error
