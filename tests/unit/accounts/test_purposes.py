"""Purposes: who does one thing more than anybody honest is found, and the bound on false alarms holds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detection.accounts.purposes import PURPOSES, Purposes
from detection.detectors.calibration import build

ALPHA = 1e-2
MILESTONES = (40, 80, 160, 320, 640, 1280, 2560)


@pytest.fixture
def purposes() -> Purposes:
    """The honest refused one time in four at most, and one of them did nothing but grade."""
    honest = np.zeros((200, 3))
    honest[:, 0] = np.linspace(0.0, 0.25, 200)
    honest[0, 1] = 1.0
    honest[:, 2] = np.linspace(0.0, 9.0, 200)
    return Purposes(build(("refusal_share", "cue_grading", "rate"), ("high",) * 3, honest))


def test_only_purposes_are_read(purposes: Purposes) -> None:
    assert list(purposes.names) == ["cue_grading", "refusal_share"]
    assert set(purposes.names) < set(PURPOSES)
    assert purposes.most_honest.tolist() == [1.0, 0.25]


def test_evidence_grows_with_the_count_and_with_the_share(purposes: Purposes) -> None:
    matrix = np.array([[0.25, 1.0, 9.0], [0.4, 1.0, 9.0], [0.4, 1.0, 9.0], [0.6, 1.0, 9.0], [np.nan, 0.0, 0.0]])
    nats = purposes.evidence(matrix, np.array([10_000.0, 80.0, 320.0, 80.0, 0.0]))
    # Who does what an honest account did is never evidence, whatever the count.
    assert nats[:, 0].tolist() == [0.0] * 5
    none, few, many, more, unread = nats[:, 1].tolist()
    assert none == unread == 0.0
    assert 0.0 < few < more
    assert few < many
    exact = 320 * (0.4 * math.log(0.4 / 0.25) + 0.6 * math.log(0.6 / 0.75)) - math.log(320) / 2 - math.log(2)
    assert many == pytest.approx(exact)


def test_the_most_honest_account_is_hardly_ever_accused_however_often_it_is_looked_at(purposes: Purposes) -> None:
    accounts = 20_000
    rng = np.random.default_rng(5)
    refused = np.zeros(accounts)
    alarmed = np.zeros(accounts, bool)
    before = 0
    for count in MILESTONES:
        refused += rng.binomial(count - before, 0.25, accounts)
        before = count
        matrix = np.zeros((accounts, 3))
        matrix[:, 0] = refused / count
        alarmed |= purposes.evidence(matrix, np.full(accounts, float(count)))[:, 1] >= -math.log(ALPHA)
    assert alarmed.mean() <= ALPHA
    # Nor is it silent: half as much again is found by most before the end.
    later = rng.binomial(MILESTONES[-1], 0.375, accounts) / MILESTONES[-1]
    matrix = np.zeros((accounts, 3))
    matrix[:, 0] = later
    found = purposes.evidence(matrix, np.full(accounts, float(MILESTONES[-1])))[:, 1] >= -math.log(ALPHA)
    assert found.mean() > 0.99
