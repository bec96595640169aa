"""What `make test` says at its end is what its two runs of pytest counted."""

from __future__ import annotations

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("run_tests", str(ROOT / "scripts/run_tests"))
    spec = importlib.util.spec_from_loader("run_tests", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_closing_line_adds_up_both_runs(script: ModuleType) -> None:
    first = script._counts(
        "FAILED tests/a.py::b - in 3.00s\n"
        "= 1 failed, 20 passed, 2 skipped, 5 deselected, 1 warning, 1 error in 61.50s (0:01:01) =\n"
    )
    second = script._counts("....\n300 passed, 4 deselected, 640 warnings in 12.34s\n")
    assert script._closing([first, second], 3725.5).strip("= ") == (
        "1 failed, 320 passed, 2 skipped, 9 deselected, 641 warnings, 1 errors in 3725.50s (1:02:06)"
    )


def test_a_run_that_ended_without_a_count_counts_nothing(script: ModuleType) -> None:
    assert script._counts("Traceback (most recent call last):\n") == {}


def test_all_that_runs_beside_exists(script: ModuleType) -> None:
    assert all((ROOT / path).exists() for path in script.BESIDE)


def test_a_run_that_a_signal_ended_is_no_success(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script._verdict([0, 0]) == 0
    assert [script._verdict(codes) for codes in ([1, 0], [0, 2], [-9, 0], [0, -11])] == [
        1,
        2,
        9,
        11,
    ]
    assert "the run beside was ended by signal 11" in capsys.readouterr().out
