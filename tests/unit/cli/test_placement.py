"""A placement in lines: the host and what is done with it, notes, hosts."""

from typing import Any

import pytest
from millwright.cli.placement import show_placement

ROW = {"host": "h1", "reasons": [], "score": 650.5}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, ""),
        ({"wake_s": 90.0, "power": "asleep"}, ", is asleep and is woken for it: in about 90 s"),
        ({"wake_s": 90.0, "power": "waking"}, ", is waking and takes it then: in about 90 s"),
        (
            {"wake_s": 9.6, "power": "falling_asleep"},
            ", is falling asleep and is woken for it: in about 10 s",
        ),
        ({"emptied": True}, ", is being emptied to sleep: that is called off"),
    ],
)
def test_what_is_done_with_the_host_is_said(
    capsys: pytest.CaptureFixture[str], told: dict[str, Any], words: str
) -> None:
    show_placement(
        {"chosen": "h1", **told, "notes": ["no FIFO priority"], "hosts": [{**ROW, **told}]}
    )
    assert capsys.readouterr().out == (
        f"chosen: h1{words}\n  note: no FIFO priority\n  h1: fits{words} (score 650.5)\n"
    )


def test_one_that_was_kept_without_counts_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    refused = {
        "host": "h2",
        "reasons": [{"message": "the host is down"}, {"message": "no"}],
        "score": None,
    }
    show_placement({"chosen": None, "hosts": [refused] * 60})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "chosen: none"
    assert lines[1:51] == ["  h2: the host is down; no"] * 50
    assert lines[51:] == ["  these are the first 50 of 60 hosts"]
