"""Names that travel in clear: models, providers, finish reasons, client families, error types.

A client chooses most of them, and could write anything: a key in the model's name, an address in the user agent. So a
name passes only if it looks like one; else it travels as ``other``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

OTHER: Final = "other"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,95}")
_PRODUCT: Final = re.compile(r"[a-z][a-z0-9._-]{1,31}")
_ERROR: Final = re.compile(r"[1-5][0-9]{2}|[A-Za-z]{0,56}(Error|Exception|Timeout|Warning|Interrupt)")
_LONGEST: Final = 256  # Clients choose these: what is longer is no name, and must not fill a cache.
_SECRET: Final = re.compile(
    r"(^|[^a-z])(sk|pk|rk|key|api[-_]?key|bearer|token|secret)[-_]"  # The usual prefixes of credentials.
    r"|[^@]@[^@]+\.[a-z]{2,}"  # An e-mail address.
    r"|(^|[^0-9])([0-9]{1,3}\.){3}[0-9]{1,3}($|[^0-9])"  # An IPv4 address.
    r"|[0-9a-f]{20}|[0-9]{9}|[a-z0-9]{28}",  # Digests, telephone and account numbers, random strings.
    re.IGNORECASE,
)


def clean_name(raw: str) -> str:
    """Pass the name of a model, provider or finish reason; "" stays "", anything that is no such name is ``other``."""
    return _clean_name(raw[:_LONGEST])


def client_family(user_agent: str) -> str:
    """Give a user agent's first product token, lower case, without its version: ``openai`` of ``OpenAI/Python``."""
    return _client_family(user_agent[:_LONGEST])


def error_type(raw: str) -> str:
    """Pass an HTTP status or the class of an exception; "" stays "", anything else is ``other``."""
    text = raw[:_LONGEST].strip()
    return text if not text or _ERROR.fullmatch(text) else OTHER


@lru_cache(maxsize=4096)
def _clean_name(raw: str) -> str:
    text = raw.strip()
    return text if not text or (_NAME.fullmatch(text) and not _SECRET.search(text)) else OTHER


@lru_cache(maxsize=4096)
def _client_family(user_agent: str) -> str:
    words = user_agent.split(None, 1)
    if not words:
        return ""
    product = words[0].partition("/")[0].lower()
    return product if _PRODUCT.fullmatch(product) and not _SECRET.search(product) else OTHER
