"""Attacks on small worlds need less time to learn how sure they are."""

import pytest


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safelight.attacks.inversion.decoder.UNCERTAINTY_STEPS", 100)
