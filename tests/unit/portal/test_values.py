"""Values as the pages write them."""

from __future__ import annotations

import pytest
from millwright.portal.templatetags.mw import binary_size, percent, share, tag_value


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, "–"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (512 * 2**20, "512 MiB"),
        (2**30 - 1, "1.0 GiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**40 - 2**20, "1.0 TiB"),
        (2**40, "1 TiB"),
        (5 * 2**50, "5120 TiB"),
    ],
)
def test_sizes_take_the_unit_in_which_they_stay_below_1024(size: int | None, words: str) -> None:
    assert binary_size(size) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, "TRUE"), (False, "FALSE"), (None, "–"), (0, "0"), (-7.5, "-7.5"), ("T#1s", "T#1s")],
)
def test_variables_are_written_as_in_structured_text(value: object, words: str) -> None:
    assert tag_value(value) == words


def test_a_share_is_cut_where_it_is_promised_and_rounded_where_parts_add_up() -> None:
    assert percent(0.9999996) == "99.999 %"
    assert percent(0.95) == "95.000 %"
    assert [share(part) for part in (0.80191, 0.19809)] == ["80.2 %", "19.8 %"]
