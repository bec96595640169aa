"""A live controller recorded, and its scans repeated bit for bit: with its program, another compiler, another program."""

from __future__ import annotations

import json
import random
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from industrial.cli import main
from industrial.runtime.shm import Area, Command, Quality, SharedMemory, Write
from industrial.simulation.recording import Recorder, Recording, RecordingError
from industrial.simulation.replay import compare, replay_program
from industrial.st import Compiled, build_shared_object, compile_folder, read_folder
from tests.support.engine import Engine, engine
from tests.support.vplc import until

MAIN = """
VAR_GLOBAL shared : DINT; END_VAR
PROGRAM Fast
VAR_EXTERNAL shared : DINT; END_VAR
VAR level AT %IW0 : INT; gain AT %MW0 : INT; speed AT %QW0 : INT; valve AT %QX40.0 : BOOL;
    t : TON; n : UDINT; average : REAL; wall AT %QD10 : UDINT; trusted AT %QX40.1 : BOOL; tuned : INT;
    good AT %QX100.0 : BOOL; age AT %QD30 : TIME; other AT %IW8 : INT; other_age AT %QD31 : TIME; END_VAR
n := n + 1;
average := average + (INT_TO_REAL(level) - average) / 7.0;
speed := REAL_TO_INT(average) + gain + tuned;
t(IN := level > 0, PT := T#15ms);
valve := t.Q AND shared MOD 2 = 0;
wall := DT_TO_UDINT(LDT_TO_DT(WALL_CLOCK()));
trusted := CLOCK_TRUSTED();
good := INPUT_GOOD(level); age := INPUT_AGE(level); other_age := INPUT_AGE(other);
END_PROGRAM
PROGRAM Slow
VAR_EXTERNAL shared : DINT; END_VAR
VAR i : INT; seen AT %QW4 : INT; level AT %IW0 : INT; END_VAR
FOR i := 0 TO 2000 DO shared := shared + level MOD 3; END_FOR;
seen := level;
END_PROGRAM
"""
MANIFEST = """
format = 1
name = "recorded"
version = "1"
[[task]]
name = "fast"
interval_us = 2000
priority = 1
programs = ["Fast"]
[[task]]
name = "slow"
interval_us = 10000
priority = 5
programs = ["Slow"]
"""


def _project(folder: Path, source: str = MAIN) -> tuple[Path, Compiled]:
    (folder / "src").mkdir(parents=True)
    (folder / "src/main.st").write_text(source)
    (folder / "vplc.toml").write_text(MANIFEST)
    compiled = compile_folder(read_folder(folder))
    assert compiled.ok, [row.render() for row in compiled.diagnostics]
    return folder, compiled


def _install(made: Engine, compiled: Compiled) -> Path:
    package = made.folder / "package"
    package.mkdir()
    build_shared_object(compiled.c_source, package / "program.so", "gcc")
    (package / "symbols.json").write_text(json.dumps(compiled.symbols))
    (package / "about.json").write_text('{"name": "recorded", "version": "1", "sha256": "0"}')
    made.point("package")
    return package


class _Plant:
    """Devices, clients and an engineer that forces: all at once and without a plan."""

    def __init__(self, shm: SharedMemory, compiled: Compiled, seed: int) -> None:
        self._shm, self._chance = shm, random.Random(seed)  # noqa: S311 - a plant, no secret
        self._tuned = next(row for row in compiled.symbols["symbols"] if row["path"] == "Fast.tuned")  # fmt: skip
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        chance, shm = self._chance, self._shm
        while not self._end.wait(0.003):
            if chance.random() < 0.7:  # else it is silent for once
                value = struct.pack("<h", chance.randrange(-50, 500))
                word = Quality.GOOD if chance.random() < 0.8 else Quality.BAD
                shm.stage_inputs([(0, value)], quality=[(0, 2, word)])
            if chance.random() < 0.05:
                shm.stage_inputs([(16, b"\1\0")], quality=[(16, 2, Quality.GOOD)])
            shm.write([Write(Area.MEM, 0, 2, chance.randrange(100))])
            if chance.random() < 0.2:
                shm.write([Write(Area.ARENA, self._tuned["offset"], 2, chance.randrange(9))])
            if chance.random() < 0.1:
                forced = [Write(Area.IN, 0, 2, chance.randrange(300))] if chance.random() < 0.5 else []  # fmt: skip
                shm.set_forces([*forced, Write(Area.OUT, 40, 0, 1, 0)][: chance.randrange(3)])

    def __enter__(self) -> _Plant:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, Compiled]]:
    """A recording's file, the project and its program."""
    folder = tmp_path_factory.mktemp("recorded")
    project, compiled = _project(folder / "project")
    with engine(folder / "engine") as made:
        package = _install(made, compiled)
        shm = made.start()
        until(lambda: len(shm.tasks()) == 2 and all(row.scans > 3 for row in shm.tasks()), "scans")
        with _Plant(shm, compiled, 5):
            found = Recorder(shm).record(package, 600)
    assert found.scans == 600
    found.save(folder / "plant.json")
    yield folder / "plant.json", project, compiled


def test_a_recording_is_repeated_bit_for_bit_with_either_compiler(
    recorded: tuple[Path, Path, Compiled],
) -> None:
    file, _, compiled = recorded
    recording = Recording.load(file)
    rows = list(recording.records())
    assert {row.task for row in rows} == {0, 1}
    assert sum(len(row.writes) for row in rows) > 50, "the plant was busy"
    assert any(row.forces for row in rows), "and something was forced"
    assert len({row.sum for row in rows}) > 50, "and the outputs moved"
    for compiler in ("tcc", "gcc"):
        found = replay_program(recording, compiled, compiler=compiler)
        assert found.first is None, compiler
        assert found.scans == 600


def test_another_program_is_compared_on_the_same_inputs(
    recorded: tuple[Path, Path, Compiled], tmp_path: Path
) -> None:
    file, project, compiled = recorded
    recording = Recording.load(file)
    # Other places of the variables, the same behaviour.
    moved = MAIN.replace("VAR level AT", "VAR new : ARRAY[0..9] OF LREAL; level AT", 1)
    _, same = _project(tmp_path / "same", moved)
    assert same.symbols["layout_hash"] != compiled.symbols["layout_hash"]
    found = compare(recording, compiled, same)
    assert (found["identical"], found["scans"], found["dropped_writes"]) == (True, 600, 0)
    assert found["not_carried"] == []
    # Another behaviour, told by variable and scan.
    changed, other = _project(tmp_path / "other", MAIN.replace("+ gain + tuned", "+ 2 * gain + tuned"))  # fmt: skip
    assert replay_program(recording, other).first is not None
    report = CliRunner().invoke(main, ["replay", str(file), str(project), "--against", str(changed), "--differences", "3"])  # fmt: skip
    assert report.exit_code == 1, report.output
    told: dict[str, Any] = json.loads(report.output)
    assert told["differing_scans"] > 3
    assert len(told["differences"]) == 3
    assert set(told["differences"][0]["outputs"]) == {"Fast.speed"}
    old, new = told["differences"][0]["outputs"]["Fast.speed"]
    assert old != new
    # Faults differ, too.
    _, faulty = _project(tmp_path / "faulty", MAIN.replace("seen := level;", "seen := level / (level - level);"))  # fmt: skip
    first = replay_program(recording, faulty).first
    assert first is not None
    assert (first["task"], first["what"]) == ("slow", "division by zero; recorded was: no fault")
    # The command says so in one line when all is well.
    report = CliRunner().invoke(main, ["replay", str(file), str(project)])
    assert report.exit_code == 0, report.output
    assert json.loads(report.output)["identical"] is True


def test_what_is_no_recording_or_of_other_tasks_is_refused(
    recorded: tuple[Path, Path, Compiled], tmp_path: Path
) -> None:
    file, _, _ = recorded
    data = json.loads(file.read_text())
    for change in ({"format": 99}, {"units": "AAAA"}, {"images": []}):
        (tmp_path / "bad.json").write_text(json.dumps({**data, **change}))
        with pytest.raises(RecordingError, match=r"bad\.json"):
            Recording.load(tmp_path / "bad.json")
    (tmp_path / "other/src").mkdir(parents=True)
    (tmp_path / "other/src/main.st").write_text(MAIN)
    (tmp_path / "other/vplc.toml").write_text(MANIFEST.replace('"slow"', '"lazy"'))
    report = CliRunner().invoke(main, ["replay", str(file), str(tmp_path / "other")])
    assert report.exit_code == 2
    assert "recorded were fast, slow" in report.output


def test_a_controller_that_is_stopped_or_changed_ends_a_recording(tmp_path: Path) -> None:
    _, compiled = _project(tmp_path / "project")
    with engine(tmp_path / "engine") as made:
        package = _install(made, compiled)
        shm = made.start()
        until(lambda: len(shm.tasks()) == 2 and all(row.scans > 3 for row in shm.tasks()), "scans")
        done: list[Recording] = []
        thread = threading.Thread(
            target=lambda: done.append(Recorder(shm).record(package, 1_000_000, limit_s=300))
        )
        thread.start()
        scans = shm.tasks()[0].scans
        until(lambda: shm.tasks()[0].scans > scans + 200, "scans that are recorded")
        assert not SharedMemory(made.folder / "shm").order(Command.RELOAD)
        thread.join(120)
        assert "another program" in done[0].note
        assert done[0].scans > 0
        assert replay_program(done[0], compiled).first is None
        assert not shm.order(Command.STOP)
        with pytest.raises(RecordingError, match="no moment between two scans"):
            Recorder(shm).record(package, 10, limit_s=0.3)
