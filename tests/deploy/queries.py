"""What a PromQL expression asks for, and which of it no process of the product exports."""

from __future__ import annotations

import re

from services.telemetry.metrics import METRICS

_PARTS = ("_bucket", "_count", "_sum")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_METRIC = re.compile(r"\b([a-z_:][a-z0-9_:]*_[a-z0-9_:]*|up)\s*(?=[{\[)\s]|$)")
_WORDS = frozenset({"group_left", "group_right", "histogram_quantile", "predict_linear", "clamp_min", "clamp_max"})
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTOR = re.compile(r"\{[^}]*\}")


def metrics_of(expression: str) -> set[str]:
    """Name the metrics of an expression; labels in selectors and groupings are none."""
    bare = _SELECTOR.sub("{}", _GROUPING.sub(" ", _QUOTED.sub('""', expression)))
    return set(_METRIC.findall(bare)) - _WORDS


def exported() -> dict[str, frozenset[str]]:
    """Give every series name of the metrics table with its labels, histograms in their three parts."""
    names: dict[str, frozenset[str]] = {}
    for metric in METRICS:
        labels = frozenset(metric.labels)
        if metric.kind == "histogram":
            names |= {metric.name + part: labels | ({"le"} if part == "_bucket" else set()) for part in _PARTS}
        else:
            names[metric.name] = labels
    return names


def unknown_metrics(expression: str) -> set[str]:
    """Name what an expression asks for that is not in the table."""
    asked = metrics_of(expression)
    assert asked, f"asks for nothing: {expression}"
    return asked - set(exported())
