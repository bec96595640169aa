"""The command's frame: every listed command exists, errors are for people, help is quick to make."""

import subprocess
import sys

import click
import millwright.cli as command
import pytest
from click.testing import CliRunner
from millwright.cli.errors import CliError
from millwright.cli.up.people import write_secret


@pytest.mark.parametrize("name", list(command._COMMANDS))
def test_every_command_exists_and_explains_itself(name: str) -> None:
    result = CliRunner().invoke(command.cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Usage:")


def test_help_imports_no_framework() -> None:
    code = (
        "import sys, click.testing, millwright.cli as c;"
        "click.testing.CliRunner().invoke(c.cli, ['--help']);"
        "print([m for m in ('django', 'libvirt', 'asyncua', 'dbos') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(command.cli, ["fly"])
    assert result.exit_code == 2
    assert "No such command 'fly'" in result.output


def test_errors_for_people_have_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def broken() -> None:
        raise CliError("no token; run `millwright up` first")

    monkeypatch.setattr(command, "cli", broken)
    monkeypatch.setattr(sys, "argv", ["millwright"])
    with pytest.raises(SystemExit) as caught:
        command.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == "millwright: no token; run `millwright up` first\n"


def test_a_secret_file_is_for_its_owner_only(tmp_path) -> None:  # type: ignore[no-untyped-def]  # pytest's own
    path = tmp_path / "secrets" / "x.token"
    write_secret(path, "abc")
    write_secret(path, "def")
    assert path.read_text() == "def"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
