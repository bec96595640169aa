"""Fixtures of the integration tests."""

from __future__ import annotations

import pytest

from tests.support.plant import Plant, build_plant

__all__ = ["plant"]


@pytest.fixture
def plant(db: None) -> Plant:
    """A small plant in the database."""
    return build_plant()
