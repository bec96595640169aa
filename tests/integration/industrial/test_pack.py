"""`vplc pack` and `vplc bench`: packages that a controller takes, and how a program scans."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from industrial.cli import main
from industrial.package import unpack
from industrial.runtime.keys import local_key

SOURCE = """PROGRAM Main
VAR n AT %QW0 : INT; i : INT; zero : INT; END_VAR
FOR i := 0 TO 500 DO n := n + i; END_FOR;
END_PROGRAM
"""
MANIFEST = 'format = 1\nname = "p"\nversion = "7"\n[[task]]\nname = "main"\ninterval_us = 5000\nprograms = ["Main"]\n'


def _project(folder: Path, source: str = SOURCE) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src/main.st").write_text(source)
    (folder / "vplc.toml").write_text(MANIFEST)
    return folder


def _pem(key: object) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined, no-any-return]


def test_a_package_is_signed_with_the_key_that_was_asked_for(tmp_path: Path) -> None:
    project, out, pem = _project(tmp_path / "p"), tmp_path / "p.bundle", tmp_path / "key.pem"
    key = Ed25519PrivateKey.generate()
    pem.write_bytes(_pem(key))
    done = CliRunner().invoke(main, ["pack", str(project), "--out", str(out), "--key", str(pem), "--compiler", "tcc"])  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    bundle = unpack(out.read_bytes(), [key.public_key()])
    assert (told["name"], told["version"], told["sha256"]) == ("p", "7", bundle.sha256)
    assert {"program.so", "symbols.json", "src/main.st", "vplc.toml"} <= set(told["files"])
    # Without a key it is the project's own, as `vplc run` signs.
    done = CliRunner().invoke(main, ["pack", str(project), "--out", str(out), "--compiler", "tcc"])
    assert done.exit_code == 0, done.output
    unpack(out.read_bytes(), [local_key(project / "state").public_key()])


def test_what_cannot_be_packed_is_told(tmp_path: Path) -> None:
    pem, out = tmp_path / "key.pem", tmp_path / "p.bundle"
    pem.write_bytes(_pem(generate_private_key(65537, 2048)))
    good = _project(tmp_path / "good")
    done = CliRunner().invoke(main, ["pack", str(good), "--out", str(out), "--key", str(pem)])
    assert done.exit_code == 1
    assert "not an Ed25519 key" in done.output
    bad = _project(tmp_path / "bad", SOURCE.replace("n + i", "m + i"))
    done = CliRunner().invoke(main, ["pack", str(bad), "--out", str(out)])
    assert done.exit_code == 1
    assert "m is not declared" in done.output
    assert not out.exists()


def test_a_bench_tells_durations_lateness_and_faults(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["bench", str(_project(tmp_path / "p")), "--seconds", "0.5", "--compiler", "tcc"])  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    (task,) = told["tasks"]
    assert (told["compiler"], told["state"], task["interval_us"]) == ("tcc", "run", 5000)
    assert task["scans"] > 0
    assert 0 < task["scan_us"]["min"] <= task["scan_us"]["mean"] <= task["scan_us"]["max"]
    assert task["scan_us"]["p50"] <= task["scan_us"]["p99"] <= task["scan_us"]["p999"]
    faulty = _project(tmp_path / "f", SOURCE.replace("n + i", "i / zero"))
    told = json.loads(CliRunner().invoke(main, ["bench", str(faulty), "--seconds", "0.5"]).output)
    assert (told["state"], told["faults"][0]["line"]) == ("fault", 3)
