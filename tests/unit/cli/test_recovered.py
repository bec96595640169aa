"""What the command line says of a controller that was started elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from millwright.cli.nouns.hosts import _retained

AT = "2026-11-27T14:03:07+00:00"


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (None, ""),
        ({}, ""),
        (
            {"outcome": "given", "as_of": AT, "before_loss_s": 42.3, "result": "kept"},
            f", retained values of {AT}, 42 s before the host was lost",
        ),
        ({"outcome": "given", "as_of": AT, "before_loss_s": None}, f", retained values of {AT}"),
        ({"outcome": "given", "as_of": AT, "result": "lost"}, ", with initial values"),
        ({"outcome": "refused"}, ", with initial values"),
        ({"outcome": "none"}, ", with initial values"),
        ({"outcome": "own"}, ", with retained values of its own"),
    ],
)
def test_each_outcome_has_its_words(kept: dict[str, Any] | None, words: str) -> None:
    assert _retained({"retained": kept}) == words
