"""A real supervisord: processes restarted, changed alone, found again after its own death, ended by id."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from millwright.cli.client import wait_for
from millwright.cli.errors import SupervisionError
from millwright.cli.supervision import Program, Supervision, render
from millwright.settings import Settings

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", cache_dir=tmp_path / "cache", instance="mw9")


@pytest.fixture
def supervision(settings: Settings) -> Iterator[Supervision]:
    settings.home.mkdir()
    made = Supervision(settings, Path(__file__).parent)
    yield made
    made.down()
    assert made.leftovers() == {}


def _pids(supervision: Supervision) -> dict[str, int]:
    return {name: row["pid"] for name, row in supervision.states().items()}


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_processes_are_kept_and_only_what_changed_is_restarted(
    supervision: Supervision, settings: Settings
) -> None:
    one, two = Program("one", SLEEPER), Program("two", SLEEPER)
    assert supervision.ensure([one, two]) == ["started one", "started two"]
    supervision.wait_running(["one", "two"])
    first = _pids(supervision)
    assert supervision.ensure([one, two]) == []
    assert _pids(supervision) == first
    changed = Program("two", SLEEPER, environment={"COLOUR": '10% blue, "dark"'.replace('"', "")})
    assert supervision.ensure([one, changed]) == ["restarted two"]
    supervision.wait_running(["one", "two"])
    second = _pids(supervision)
    assert second["one"] == first["one"]
    assert second["two"] != first["two"]
    assert b"COLOUR=10% blue, dark" in Path(f"/proc/{second['two']}/environ").read_bytes()
    assert supervision.ensure([one]) == ["removed two"]
    assert set(supervision.states()) == {"one"}
    assert stat.S_IMODE(supervision.socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(supervision.config.stat().st_mode) == 0o600


def test_a_killed_process_comes_back(supervision: Supervision) -> None:
    supervision.ensure([Program("one", SLEEPER)])
    supervision.wait_running(["one"])
    pid = _pids(supervision)["one"]
    os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: _pids(supervision).get("one") not in (pid, 0), limit_s=60, what="a new process"
    )
    supervision.wait_running(["one"])


def test_what_a_killed_supervisor_left_is_ended_before_a_new_start(
    supervision: Supervision,
) -> None:
    supervision.ensure([Program("one", SLEEPER)])
    supervision.wait_running(["one"])
    pid = _pids(supervision)["one"]
    os.kill(_parent(pid), signal.SIGKILL)
    wait_for(lambda: not supervision.running(), limit_s=30, what="its death")
    assert supervision.leftovers() == {pid: "one"}
    changes = supervision.ensure([Program("one", SLEEPER)])
    assert changes[0] == "ended 1 left over by a killed supervisor"
    supervision.wait_running(["one"])
    assert _pids(supervision)["one"] != pid


def test_a_process_that_does_not_start_is_shown_with_its_log(supervision: Supervision) -> None:
    broken = Program("broken", (sys.executable, "-c", "raise SystemExit('no such register')"))
    supervision.ensure([broken])
    with pytest.raises(SupervisionError, match=r"(?s)broken does not run:.*no such register"):
        supervision.wait_running(["broken"], limit_s=3)


def test_everything_runs_on_the_given_cpus(supervision: Supervision) -> None:
    cpu = min(os.sched_getaffinity(0))
    supervision.ensure([Program("one", SLEEPER)], cpus=frozenset({cpu}))
    supervision.wait_running(["one"])
    assert os.sched_getaffinity(_pids(supervision)["one"]) == {cpu}


def test_another_instances_processes_are_not_ours(supervision: Supervision, tmp_path: Path) -> None:
    other = Settings(home=tmp_path / "other", cache_dir=tmp_path / "cache", instance="mw8")
    other.home.mkdir()
    neighbour = Supervision(other, Path(__file__).parent)
    try:
        neighbour.ensure([Program("one", SLEEPER)])
        neighbour.wait_running(["one"])
        assert supervision.leftovers() == {}
        assert supervision.down() == []
        assert neighbour.states()["one"]["state"] == "running"
    finally:
        assert neighbour.down() == ["one"]


def test_new_code_restarts_our_programs_only(settings: Settings) -> None:
    programs = [Program("ours", SLEEPER), Program("theirs", SLEEPER, ours=False)]
    before, after = (render(settings, programs, stamp).split("[program:") for stamp in ("a", "b"))
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]
