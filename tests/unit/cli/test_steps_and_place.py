"""Steps and their times, which instance a checkout is, what a project folder uploads, waiting."""

import json
from pathlib import Path

import pytest
from millwright.cli.client import wait_for
from millwright.cli.errors import CliError, StepError
from millwright.cli.nouns.shopfloor import read_project
from millwright.cli.place import adopt_instance, alone, owner
from millwright.cli.up.hosts import check_uri, policy_for
from millwright.cli.up.steps import Done, Plan, Run
from millwright.settings import get_settings


class Clock:
    """Virtual time: every reading takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def _run() -> tuple[Run, list[str]]:
    said: list[str] = []
    return Run(Plan(get_settings(), Path("/checkout")), said.append, clock=Clock()), said


def test_a_run_without_changes_says_so() -> None:
    run, said = _run()
    run.through([("Images", lambda _plan: Done()), ("Hosts", lambda _plan: Done(detail="two"))])
    assert any("unchanged" in line for line in said)
    assert "Nothing was changed" in run.split()
    assert run.split().count("unchanged") == 2


def test_changes_are_told_with_the_time_each_step_took() -> None:
    run, said = _run()
    run.through(
        [("Images", lambda _plan: Done.of(["built tiny"])), ("Hosts", lambda _plan: Done())]
    )
    assert "        built tiny" in said
    split = run.split()
    assert "Nothing was changed" not in split
    assert "1.0 s  Images                   changed" in split


def test_a_failing_step_names_itself_and_nothing_after_it_runs() -> None:
    run, _said = _run()
    ran = []

    def fail(_plan: Plan) -> Done:
        raise CliError("no disk")

    with pytest.raises(StepError, match=r"^Hosts: no disk$"):
        run.through([("Hosts", fail), ("Later", lambda _plan: ran.append(1) or Done())])  # type: ignore[func-returns-value]  # a probe
    assert ran == []
    assert "FAILED" in run.split()


def test_a_step_may_speak_while_it_works() -> None:
    run, said = _run()

    def work(plan: Plan) -> Done:
        plan.say("half-way")
        return Done()

    run.through([("Work", work)])
    assert "        half-way" in said


def test_a_checkout_adopts_its_own_instance_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MILLWRIGHT_INSTANCE", raising=False)
    (tmp_path / "mw0.json").write_text(json.dumps({"owner": "/somebody/else"}))
    (tmp_path / "mw1.json").write_text("not json")
    adopt_instance(tmp_path)
    import os

    assert "MILLWRIGHT_INSTANCE" not in os.environ
    (tmp_path / "mw2.json").write_text(json.dumps({"owner": owner()}))
    adopt_instance(tmp_path)
    assert os.environ.pop("MILLWRIGHT_INSTANCE") == "mw2"


def test_a_named_instance_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLWRIGHT_INSTANCE", "mw5")
    (tmp_path / "mw2.json").write_text(json.dumps({"owner": owner()}))
    adopt_instance(tmp_path)
    import os

    assert os.environ["MILLWRIGHT_INSTANCE"] == "mw5"


def test_a_project_folder_uploads_sources_and_never_state_or_keys(tmp_path: Path) -> None:
    for name, text in {
        "vplc.toml": "format = 1",
        "src/main.st": "PROGRAM Main END_PROGRAM",
        "io/line.toml": "",
        "state/retain.bin": "secret",
        "signing.key": "secret",
        "README.md": "words",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert sorted(read_project(tmp_path)) == ["io/line.toml", "src/main.st", "vplc.toml"]


def test_a_folder_without_sources_or_with_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="no Structured Text"):
        read_project(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.st").write_bytes(b"PROGRAM \xff")
    with pytest.raises(CliError, match=r"not UTF-8 text \(byte 8\)"):
        read_project(tmp_path)
    with pytest.raises(CliError, match="is not a folder"):
        read_project(tmp_path / "nowhere")


def test_waiting_ends_with_what_was_found_or_with_words() -> None:
    clock, naps = Clock(), []
    answers = iter([None, None, "there"])
    assert (
        wait_for(lambda: next(answers), limit_s=10, what="x", clock=clock, sleep=naps.append)
        == "there"
    )
    assert len(naps) == 2
    with pytest.raises(CliError, match="the portal: not within 3 s"):
        wait_for(lambda: None, limit_s=3, what="the portal", clock=Clock(), sleep=naps.append)


@pytest.mark.parametrize(
    ("cpus", "house", "realtime", "shared"),
    [
        ([0], "0", "", "0"),
        ([0, 1], "0", "1", "0"),
        ([0, 1, 2, 3], "0", "2-3", "0-1"),
        (list(range(8)), "0", "4-7", "0-3"),
    ],
)
def test_a_pools_cpus_are_shared_out(
    cpus: list[int], house: str, realtime: str, shared: str
) -> None:
    policy = policy_for(cpus)
    assert policy["housekeeping_cpus"] == house
    assert policy["realtime_cpus"] == realtime
    assert policy["shared_cpus"] == shared


def test_a_pool_that_is_not_this_machines_is_refused() -> None:
    with pytest.raises(CliError, match="expected qemu:///system"):
        check_uri("qemu+ssh://elsewhere/system")


def test_two_runs_on_one_installation_exclude_each_other(tmp_path: Path) -> None:
    home = tmp_path / "mw0"
    with alone(home):
        with pytest.raises(CliError, match="another millwright up or down is at work"), alone(home):
            pass
        with alone(tmp_path / "mw1"):
            pass
    with alone(home):
        pass
