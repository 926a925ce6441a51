"""Every feature that can lead an alert has its words, and no word is left over."""

from __future__ import annotations

from detection.features.accounts import NAMES
from detection.features.pools import CATALOGUE
from detection.features.wording import WORDS, because


def test_each_feature_has_words() -> None:
    assert set(WORDS) == set(NAMES) | {feature.name for feature in CATALOGUE} | {"coincidences", "handovers"}


def test_reasons_read_as_a_sentence() -> None:
    told = because(["icc_output", "icc_hour", "log_out"])
    assert told == "their answers are equally long, whoever asks and none of them keeps hours of its own"
