"""What an alert tells besides its evidence: standard tags, what would clear it, how much of a corpus is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from detection.outcomes import AlertKind, Lane

# MITRE ATLAS: extract an AI model; inference API access; AI service proxies. OWASP: unbounded consumption.
_EXTRACTION: Final = ("AML.T0024.002", "AML.T0040", "LLM10:2025")
_PROXIES: Final = "AML.T0008.005"
# Instruction sets that were made by asking a model: Alpaca has 52,002 pairs (Taori et al. 2023).
PLAUSIBLE_CORPUS: Final = 52_000
_CLEARING: Final[dict[str, str]] = {
    "organization": "one organisation on record owns these accounts (`accounts import`)",
    "entitlement": "an entitlement of the customer covers this use",
    "verified": "the customer proves who he is and what the requests are for",
    "people": "these customers come to differ as people do: in volume, hours, length of answers, conversations",
    "application": "an application is shown that needs so many different biases and no text",
    "dispatcher": "the prompts turn out to be published ones that many send at the same time",
}


def tags_of(lane: Lane, *, one_network: bool) -> list[str]:
    """Name the techniques; groups that come from many networks use proxies or resold access."""
    proxied = lane in {"pool", "link"} and not one_network
    return sorted([*_EXTRACTION, *([_PROXIES] if proxied else [])])


def clearing_of(lane: Lane, kind: AlertKind) -> list[str]:
    """Tell what would clear it, in plain sentences, the simplest first."""
    keys = {
        "pool": ("organization", "entitlement", "people"),
        "link": ("organization", "dispatcher", "entitlement"),
        "probe": ("entitlement", "application"),
        "account": ("entitlement", "verified"),
        "entitlement": ("entitlement", "verified"),
    }[lane]
    if kind == "verification_request" and "verified" not in keys:
        keys = (*keys, "verified")
    return [_CLEARING[key] for key in keys]


def corpus_share(requests: int) -> float:
    """Give the share of a plausible training corpus that so many answers make, 0..1."""
    return round(min(requests / PLAUSIBLE_CORPUS, 1.0), 4)
