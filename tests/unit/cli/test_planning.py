"""The balancer on a file: each command as a person types it, its JSON, and its words for mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from millwright.cli import cli
from millwright.cli.errors import CliError

GIB = 2**30


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    """A host with more than it can give, two idle ones, a machine without a host, one that stays."""
    vms: list[dict[str, Any]] = [
        {"name": f"cae-{i}", "vcpus": 4, "memory_bytes": 2 * GIB, "host": "h1", "demand_long": 3}
        for i in range(4)
    ]
    vms.append({"name": "plc", "vcpus": 1, "memory_bytes": GIB, "host": "h2", "cores": 1})
    vms.append({"name": "new", "vcpus": 1, "memory_bytes": GIB})
    hosts = [{"name": f"h{i}", "cpus": 8, "memory_bytes": 32 * GIB, "cores": 2} for i in (1, 2, 3)]
    path = tmp_path / "plant.json"
    path.write_text(
        json.dumps({"hosts": hosts, "vms": vms, "settings": {"mode": "automatic"}}),
        encoding="utf-8",
    )
    return path


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def answer(*words: str | Path) -> Any:
    result = run(*words, "--format", "json")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return json.loads(result.output)


def test_a_plan_places_balances_and_orders(plant: Path) -> None:
    made = answer("plan", plant)
    assert made["placed"][0]["vm"] == "new"
    assert made["placed"][0]["host"] in ("h2", "h3")
    moves = [move["vm"] for move in made["round"]["moves"]]
    assert moves
    assert sorted(leg["vm"] for leg in made["schedule"]["legs"]) == sorted(moves)
    table = run("plan", plant)
    assert table.exit_code == 0
    assert "place new on h" in table.output
    assert "h1 has been above 88%" in table.output


def test_a_plan_of_nothing_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text('{"hosts": [], "vms": []}', encoding="utf-8")
    result = run("plan", empty)
    assert result.exit_code == 0, result.exception
    assert result.output.startswith("none")


def test_a_plan_without_a_snapshot_asks_for_what_the_portal_needs(plant: Path) -> None:
    assert "give --project, or a SNAPSHOT" in run("plan").output
    mixed = run("plan", plant, "--size", "small")
    assert mixed.exit_code == 2
    assert "--size asks the portal" in mixed.output


def test_rounds_hand_on_their_state(plant: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    counts = [
        len(answer("balance", "--snapshot", plant, "--state", state)["moves"]) for _ in range(3)
    ]
    # One round alone is no reason yet; the state tells the second that it is not the first.
    assert counts[0] == 0
    assert counts[1] > 0
    assert json.loads(state.read_text(encoding="utf-8"))["number"] == 3
    assert len(answer("balance", "--snapshot", plant, "--lasting")["moves"]) == counts[1]


def test_a_drain_says_what_cannot_leave_and_ends_with_1(plant: Path) -> None:
    good = run("drain", "h1", "--snapshot", plant)
    assert good.exit_code == 0, good.output
    assert "h1 can be emptied; 4 moves" in good.output
    bad = run("drain", "h2", "--snapshot", plant)
    assert bad.exit_code == 1
    assert "plc never moves" in bad.output
    rolling = answer("drain", "--rolling", "--work", "60", "--snapshot", plant)
    assert rolling["blocked"] == ["h2"]


def test_capacity_counts_copies_of_a_machine_or_a_file(plant: Path, tmp_path: Path) -> None:
    like = answer("capacity", "--snapshot", plant, "--like", "plc")
    assert like["fits"] == 5
    assert like["limited_by"] == {"dedicated cores": 3}
    template = tmp_path / "template.json"
    template.write_text(json.dumps({"vcpus": 1, "memory_bytes": 32 * GIB}), encoding="utf-8")
    assert answer("capacity", "--snapshot", plant, "--template", template)["fits"] == 1
    assert "either --like or --template" in run("capacity", "--snapshot", plant).output


def test_recovery_lists_restarts_in_waves(plant: Path) -> None:
    made = answer("recover", "h1", "--snapshot", plant)
    assert [entry["vm"] for entry in made["restarts"]] == [f"cae-{i}" for i in range(4)]
    assert "wave" in run("recover", "h1", "--snapshot", plant).output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("drain", "h9"), "HOSTS: 'h9': not known"),
        (("recover", "h1", "--gone", "h2"), "--gone: 'h2': not known"),
        (("capacity", "--like", "nobody"), "--like: 'nobody': not known"),
        (("balance", "--now", "noon"), "--now: 'noon': a time like"),
    ],
)
def test_mistakes_are_named(plant: Path, words: tuple[str, ...], told: str) -> None:
    result = run(*words, "--snapshot", plant)
    assert isinstance(result.exception, CliError)
    assert told in str(result.exception)


def test_a_snapshot_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    for text, told in (("{", "Expecting"), ('{"hosts": [{"name": "h"}]}', "hosts[0].cpus: None")):
        path.write_text(text, encoding="utf-8")
        result = run("plan", path)
        assert isinstance(result.exception, CliError)
        assert told in str(result.exception)
