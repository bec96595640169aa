"""What runs inside the machines beside the controller: the job desk of a CAE node, and the health answer."""

from __future__ import annotations

import base64
import http.client
import importlib.machinery
import importlib.util
import io
import json
import runpy
import subprocess
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from vmtemplates.loader import HERE

SOLVER = """#!/bin/sh
case "$(cat job.inp)" in
    *wrong*) echo " *ERROR reading *ELEMENT" ;;
    *endless*) exec sleep 600 ;;
    *) echo solved > job.dat; echo " Job finished" ;;
esac
"""


def program(path: Path) -> Any:
    """A guest's program as a module."""
    loader = importlib.machinery.SourceFileLoader(path.name.replace("-", "_"), str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    solver = tmp_path / "ccx"
    solver.write_text(SOLVER)
    solver.chmod(0o755)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    module = program(HERE / "cae-node/files/mw-jobs")
    module.SOLVER = str(solver)
    return module


@pytest.fixture
def desk(jobs: Any, tmp_path: Path) -> Any:
    made = jobs.Desk(tmp_path)
    threading.Thread(target=made.run, daemon=True).start()
    return made


def ended(desk: Any, job: str) -> dict[str, Any]:
    """Wait for a job's end."""
    pause = threading.Event()
    for _ in range(3000):
        row: dict[str, Any] = desk.job(job)
        if row["state"] in ("done", "failed"):
            return row
        pause.wait(0.02)
    raise AssertionError(f"no end: {desk.job(job)}")


def hand_in(desk: Any, model: bytes, name: str = "") -> str:
    return str(desk.add(name, io.BytesIO(model), len(model))["id"])


def test_jobs_are_solved_in_turn_and_their_files_kept(desk: Any) -> None:
    first, second = hand_in(desk, b"*NODE", "frame"), hand_in(desk, b"wrong")
    assert ended(desk, first)["state"] == "done"
    assert {"job.inp", "job.dat", "job.log"} == set(desk.job(first)["files"])
    assert desk.file(first, "job.dat").read_text() == "solved\n"
    row = ended(desk, second)
    assert (row["state"], row["detail"]) == ("failed", "*ERROR reading *ELEMENT")
    assert {row["id"] for row in desk.jobs()} == {first, second}


def test_a_job_without_end_is_cancelled_and_the_next_one_solved(desk: Any, jobs: Any) -> None:
    endless, next_one = hand_in(desk, b"endless"), hand_in(desk, b"*NODE")
    desk.remove(endless)
    assert ended(desk, next_one)["state"] == "done"
    with pytest.raises(jobs.Refused, match=f"no job {endless}"):
        desk.job(endless)


def test_what_ran_at_a_power_loss_runs_again(jobs: Any, desk: Any, tmp_path: Path) -> None:
    job = hand_in(desk, b"*NODE")
    ended(desk, job)
    note = tmp_path / "jobs" / job / "job.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "state": "running"}))
    (tmp_path / "jobs/torn").mkdir()
    again = jobs.Desk(tmp_path)
    assert again.job(job)["state"] == "waiting"
    assert not (tmp_path / "jobs/torn").exists()
    threading.Thread(target=again.run, daemon=True).start()
    assert ended(again, job)["state"] == "done"


@pytest.mark.parametrize(
    ("name", "model", "length", "words"),
    [
        ("", b"", 0, "1 to"),
        ("", b"x", 10**10, "1 to"),
        ("n" * 81, b"x", 1, "at most 80"),
        ("", b"x", 2, "ended early"),
    ],
)
def test_a_wrong_hand_in_is_refused_and_leaves_nothing(
    desk: Any, jobs: Any, name: str, model: bytes, length: int, words: str
) -> None:
    with pytest.raises(jobs.Refused, match=words):
        desk.add(name, io.BytesIO(model), length)
    assert desk.jobs() == []


@pytest.fixture
def port(jobs: Any, desk: Any) -> Iterator[int]:
    jobs.Handler.desk, jobs.Handler.word = desk, "word"
    server = ThreadingHTTPServer(("127.0.0.1", 0), jobs.Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:  # fmt: skip
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    known = {"Authorization": "Basic " + base64.b64encode(b"plant:word").decode(), **headers}
    try:
        line.request(method, path, body, known)
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()


def test_the_desk_over_http(port: int, desk: Any) -> None:
    status, body = ask(port, "POST", "/jobs?name=%3Cb%3Eframe", b"*NODE")
    assert status == 201
    job = json.loads(body)["id"]
    ended(desk, job)
    assert ask(port, "GET", f"/jobs/{job}/files/job.dat") == (200, b"solved\n")
    page = ask(port, "GET", "/")[1].decode()
    assert "&lt;b&gt;frame" in page
    assert f"/jobs/{job}/files/job.dat" in page
    assert [row["id"] for row in json.loads(ask(port, "GET", "/jobs")[1])["jobs"]] == [job]
    for path in (f"/jobs/{job}/files/job.json", f"/jobs/{job}/files/..%2Fjob", "/jobs/../x", "/no"):
        assert ask(port, "GET", path)[0] == 404, path
    assert ask(port, "DELETE", f"/jobs/{job}")[0] == 200
    assert ask(port, "GET", f"/jobs/{job}")[0] == 404
    assert "No job yet." in ask(port, "GET", "/")[1].decode()


def test_the_desk_refuses_strangers_and_other_sites(port: int) -> None:
    assert ask(port, "GET", "/jobs", Authorization="Basic !!")[0] == 401
    wrong = "Basic " + base64.b64encode(b"plant:other").decode()
    assert ask(port, "POST", "/jobs", b"*NODE", Authorization=wrong)[0] == 401
    assert ask(port, "POST", "/jobs", b"*NODE", Origin="http://elsewhere")[0] == 403
    assert ask(port, "GET", "/jobs", Origin=f"http://127.0.0.1:{port}")[0] == 200


def test_the_beam_by_hand_and_how_results_are_read() -> None:
    beam = runpy.run_path(str(HERE / "cae-node/files/beam.py"))
    # F·L³/3EI = 0.1905 mm of bending, and 0.8 % of shear
    assert beam["by_hand"]() == pytest.approx(1.9048e-4 * 1.0078, rel=1e-4)
    loads = [
        float(line.split(",")[2])
        for line in beam["model"]().split("*CLOAD\n")[1].split("*NODE PRINT")[0].splitlines()
    ]
    assert len(loads) == 8
    assert sum(loads) == pytest.approx(-1000.0)
    assert beam["deflection"](" 7  0.0  0.0 -2.0E-04\n 8 0.0 0.0 -4.0E-04\n") == pytest.approx(3e-4)
    with pytest.raises(ValueError, match="no displacements"):
        beam["deflection"]("nothing\n")


@pytest.fixture
def health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    module = program(HERE / "common/files/mw-health")
    module.CHECK = str(tmp_path / "check")
    return module


@pytest.mark.parametrize(
    ("script", "ok", "detail"),
    [
        ("echo before; echo the beam bends", True, "the beam bends"),
        ("echo out; echo no beam >&2; exit 1", False, "no beam"),
        ("exit 4", False, "ended with 4"),
        ("sleep 600", False, "the check took longer than 1 s"),
    ],
)
def test_health_says_what_the_check_saw(health: Any, script: str, ok: bool, detail: str) -> None:
    health.LIMIT_S = 1.0 if "sleep" in script else 60.0
    path = Path(health.CHECK)
    path.write_text(f"#!/bin/sh\n{script.replace('sleep', 'exec sleep')}\n")
    path.chmod(0o755)
    state = health.State()
    assert state.document()["ok"] is False
    assert health.check(state) is ok
    assert (state.document()["ok"], state.document()["detail"]) == (ok, detail)


def test_a_check_that_is_missing_or_long_past_does_not_count(health: Any) -> None:
    state = health.State()
    assert health.check(state) is False
    assert "No such file" in state.document()["detail"]
    state.keep(True, "fine", 1.0)
    assert state.document()["ok"] is True
    health.COUNTS_S = -1.0
    assert state.document()["ok"] is False
    assert "before: fine" in state.document()["detail"]


def test_the_access_word_of_the_platform_wins_over_the_one_drawn_here(tmp_path: Path) -> None:
    text = (HERE / "common/files/mw-access").read_text()
    place, hooks = tmp_path / "state", tmp_path / "access.d"
    hooks.mkdir()
    (hooks / "one").write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/seen\n')
    (hooks / "one").chmod(0o755)
    script = text.replace("/var/lib/millwright", str(place)).replace(
        "/opt/millwright/access.d", str(hooks)
    )

    def run(**env: str) -> str:
        subprocess.run(["sh", "-c", script], check=True, env={"PATH": "/usr/bin:/bin", **env})
        assert (tmp_path / "seen").read_text() == (place / "access").read_text()
        assert (place / "access").stat().st_mode & 0o777 == 0o600
        return (place / "access").read_text()

    drawn = run()
    assert len(drawn) == 16
    assert run() == drawn
    given = tmp_path / "credentials"
    given.mkdir()
    (given / "mw.access").write_text("given\n")
    assert run(CREDENTIALS_DIRECTORY=str(given)) == "given"
