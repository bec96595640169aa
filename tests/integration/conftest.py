"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.plant import Plant, build_plant

__all__ = ["plant"]


@pytest.fixture
def plant(db: None) -> Plant:
    """A small plant in the database."""
    return build_plant()


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    """A page in another language leaves its language active in the thread; the next test starts anew."""
    from django.utils import translation

    translation.activate("en")
    yield
    translation.deactivate()
