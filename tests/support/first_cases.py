"""A pytest plugin: of a test with many cases the first one runs, so that each statement runs once at little cost."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the first item of each test function, in the order in which they were collected."""
    first: dict[tuple[str, str], pytest.Item] = {}
    for item in items:
        first.setdefault((str(item.path), getattr(item, "originalname", item.name)), item)
    chosen = set(first.values())
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]
