"""The balancer on a file: each command as a person types it, its JSON, and its words for mistakes."""

import json
import os
import re
import shlex
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


ONE_HOST = '{"hosts": [{"name": "h1", "cpus": 8, "memory_bytes": 1073741824}], "vms": []}'


def test_a_plan_of_nothing_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text(ONE_HOST, encoding="utf-8")
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


def test_capacity_says_how_many_fit_once_hosts_are_woken(plant: Path) -> None:
    awake = run("capacity", "--snapshot", plant, "--like", "plc").output
    assert "5 more fit" in awake and "woken" not in awake
    raw = json.loads(plant.read_text(encoding="utf-8"))
    raw["hosts"][2]["state"] = "asleep"
    plant.write_text(json.dumps(raw), encoding="utf-8")
    told = run("capacity", "--snapshot", plant, "--like", "plc").output
    assert "3 more fit" in told
    assert "5 would fit with all that sleep woken: 1 host\n" in told
    made = answer("capacity", "--snapshot", plant, "--like", "plc")
    assert (made["fits"], made["asleep"], made["with_woken"]) == (3, 1, 5)


def test_losses_of_hosts_and_of_failure_domains(plant: Path) -> None:
    """Who would not restart, with what it lacks or waits for; of so many hosts or racks at once."""
    fine = run("capacity", "--losses", "--snapshot", plant)
    assert (fine.exit_code, "any 1 hosts may die" in fine.output) == (0, True)
    raw = json.loads(plant.read_text(encoding="utf-8"))
    raw["hosts"][1]["domain"] = raw["hosts"][2]["domain"] = "rack"
    raw["vms"].append(
        {"name": "app", "vcpus": 1, "memory_bytes": GIB, "host": "h1", "after": ["cae-0"]}
    )
    raw["vms"][0]["protected"] = False
    plant.write_text(json.dumps(raw), encoding="utf-8")
    told = run("capacity", "--losses", "--snapshot", plant)
    assert told.exit_code == 1
    assert "app would wait for cae-0, which is not protected" in told.output
    assert "1 of 3 sets of 1 hosts leave machines" in told.output
    (broken,) = answer("capacity", "--losses", "--snapshot", plant)["broken"]
    assert (broken["hosts"], broken["left"][0]["waits_for"]) == (["h1"], "cae-0")
    assert answer("capacity", "--losses", "--spare", "2", "--snapshot", plant)["checked"] == 3
    racks = answer("capacity", "--losses", "--domains", "--snapshot", plant)
    assert (racks["checked"], [entry["hosts"] for entry in racks["broken"]]) == (2, [["h1"]])
    # And what would restart where if a rack is lost.
    lost = answer("recover", "--domain", "rack", "--snapshot", plant, "--gone", "h2")
    assert [entry["vm"] for entry in lost["restarts"]] == ["plc"]
    both = answer("recover", "h1", "--domain", "rack", "--snapshot", plant)
    assert not both["restarts"]


def test_recovery_lists_restarts_in_waves(plant: Path) -> None:
    made = answer("recover", "h1", "--snapshot", plant)
    assert [entry["vm"] for entry in made["restarts"]] == [f"cae-{i}" for i in range(4)]
    assert "wave" in run("recover", "h1", "--snapshot", plant).output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("drain", "h9"), "HOSTS: 'h9': not known"),
        (("recover", "h1", "--gone", "h2"), "--gone: 'h2': not known"),
        (("recover", "--domain", "attic"), "--domain: 'attic': not known"),
        (("capacity", "--like", "nobody"), "--like: 'nobody': not known"),
        (("balance", "--now", "noon"), "--now: 'noon': a time like"),
    ],
)
def test_mistakes_are_named(plant: Path, words: tuple[str, ...], told: str) -> None:
    result = run(*words, "--snapshot", plant)
    assert isinstance(result.exception, CliError)
    assert told in str(result.exception)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("recover",), "name HOSTS that are lost, or a --domain"),
        (("capacity", "--domains", "--like", "plc"), "--domains: goes with --losses"),
        (("capacity", "--losses", "--like", "plc"), "goes without --like"),
    ],
)
def test_words_that_do_not_go_together_are_named(
    plant: Path, words: tuple[str, ...], told: str
) -> None:
    result = run(*words, "--snapshot", plant)
    assert result.exit_code == 2
    assert told in result.output


def test_a_snapshot_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    for text, told in (("{", "Expecting"), ('{"hosts": [{"name": "h"}]}', "hosts[0].cpus: None")):
        path.write_text(text, encoding="utf-8")
        result = run("plan", path)
        assert isinstance(result.exception, CliError)
        assert told in str(result.exception)


def told(result: Result) -> str:
    """Words of a refusal, which is never a traceback."""
    assert isinstance(result.exception, CliError), result.exception
    return str(result.exception)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000 + "]" * 100_000, "deeper in each other than a snapshot has"),
        ('{"hosts":' + "[" * 100_000 + "]" * 100_000 + "}", "deeper in each other"),
        ('{"hosts": [], "hosts": [], "vms": []}', "'hosts': stands twice in one object"),
        ("1" * 5000, "4300"),
        ('{"hosts": [], "vms": [{"name": "\\u001b[31mx"}]}', "without control characters"),
        ("", "Expecting value"),
    ],
)
def test_what_is_no_snapshot_is_said_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    for command in (("plan", path), ("balance", "--snapshot", path)):
        assert words in told(run(*command))
    state = tmp_path / "good.json"
    state.write_text(ONE_HOST, encoding="utf-8")
    assert words in told(run("balance", "--snapshot", state, "--state", path))


@pytest.mark.parametrize(
    ("text", "value"), [("{}", None), ('{"hosts": [], "vms": []}', []), ('{"settings": {}}', None)]
)
def test_a_snapshot_without_a_host_is_refused(
    tmp_path: Path, text: str, value: list[object] | None
) -> None:
    path = tmp_path / "empty.json"
    path.write_text(text, encoding="utf-8")
    for words in (
        ("plan", path),
        ("balance", "--snapshot", path),
        ("drain", "h1", "--snapshot", path),
        ("capacity", "--snapshot", path, "--losses"),
        ("recover", "h1", "--snapshot", path),
    ):
        assert told(run(*words)) == f"{path}: hosts: {value}: at least one host is wanted"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "plant.json"
    path.write_text(f"\ufeff{ONE_HOST}", encoding="utf-8")
    assert run("plan", path).exit_code == 0


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"moved": [1]}, "state.moved: [1]: an object of numbers is wanted"),
        ({"hot": 3}, "state.hot: 3: an object of numbers is wanted"),
        ([], "state: []: an object is wanted"),
    ],
)
def test_a_state_that_is_none_is_named(plant: Path, tmp_path: Path, state: Any, words: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps(state), encoding="utf-8")
    assert words in told(run("balance", "--snapshot", plant, "--state", path))
    assert json.loads(path.read_text(encoding="utf-8")) == state


def test_where_the_state_goes_is_asked_before_the_work(
    plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millwright.core.balancing.balance", lambda *_: pytest.fail("worked"))
    missing = tmp_path / "gone" / "state.json"
    assert "no such folder" in told(run("balance", "--snapshot", plant, "--state", missing))
    able = os.access
    monkeypatch.setattr("os.access", lambda path, how: path != tmp_path and able(path, how))
    words = told(run("balance", "--snapshot", plant, "--state", tmp_path / "state.json"))
    assert "must be writable" in words


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("capacity", "--like", "plc", "--growth", "nan"), "--growth: nan: must be from 0"),
        (("capacity", "--like", "plc", "--growth", "inf"), "--growth: inf: must be from 0"),
        (("capacity", "--like", "plc", "--growth", "-1"), "--growth: -1: must be from 0"),
        (("drain", "--rolling", "--work", "nan"), "--work: nan: must be from 0 to"),
        (("drain", "--rolling", "--work", "-1"), "--work: -1: must be from 0 to"),
        (("drain", "h1", "--now", "noon"), "--now: 'noon': a time like"),
        (("capacity", "--like", "plc", "--now", "noon"), "--now: 'noon': a time like"),
        (("recover", "h1", "--now", "noon"), "--now: 'noon': a time like"),
    ],
)
def test_numbers_of_the_command_line_have_bounds(
    plant: Path, words: tuple[str, ...], refusal: str
) -> None:
    assert refusal in told(run(*words, "--snapshot", plant))


def changed(plant: Path, **changes: Any) -> Path:
    """The plant with other lists or settings."""
    data = json.loads(plant.read_text(encoding="utf-8"))
    path = plant.with_name("changed.json")
    path.write_text(json.dumps(data | changes), encoding="utf-8")
    return path


def test_a_plan_that_cannot_be_carried_out_ends_with_1_and_the_reason(plant: Path) -> None:
    large = {"name": "large", "vcpus": 1, "memory_bytes": 99 * GIB}
    homeless = changed(plant, vms=[large])
    result = run("plan", homeless)
    assert result.exit_code == 1, result.output
    assert "not: large has no place" in result.output
    assert answer("plan", homeless)["ok"] is False
    # Each fits somewhere, but without one of the three hosts not all of them do.
    vms = [
        {"name": f"v{i}", "vcpus": 1, "memory_bytes": 20 * GIB}
        | ({"host": f"h{i}"} if i < 3 else {})
        for i in (1, 2, 3)
    ]
    short = changed(plant, vms=vms, settings={"spare_hosts": 1})
    result = run("plan", short)
    assert "place v3 on h3" in result.output
    assert result.exit_code == 1, result.output
    assert "no place is left for" in result.output
    assert "1 hosts shall be to spare" in result.output
    said = answer("plan", short)
    assert said["ok"] is False
    assert said["reasons"]
    assert run("plan", changed(plant, vms=vms, settings={"spare_hosts": 0})).exit_code == 0


def test_a_drain_in_a_window_is_asked_of_its_time(plant: Path) -> None:
    vms = [
        {"name": "plc", "vcpus": 1, "memory_bytes": GIB, "host": "h2", "movability": "window"},
        {"name": "new", "vcpus": 1, "memory_bytes": GIB},
    ]
    line = {"name": "night", "vms": ["plc"], "start": "22:00", "end": "23:00", "window": True}
    path = changed(plant, vms=vms, calendar=[line])
    for when, code in (
        ((), 1),
        (("--now", "2026-05-04T21:59"), 1),
        (("--now", "2026-05-04T22:00"), 0),
    ):
        result = run("drain", "h2", "--snapshot", path, *when)
        assert result.exit_code == code, result.output
    assert "none is open" in run("drain", "h2", "--snapshot", path).output


def test_capacity_and_recovery_go_by_the_time_too(plant: Path) -> None:
    vms = [
        {"name": name, "vcpus": 1, "memory_bytes": GIB, "host": "h1"}
        for name in ("first", "second")
    ]
    line = {"name": "rush", "vms": ["second"], "start": "22:00", "end": "23:00", "priority": 9}
    path = changed(plant, vms=vms, calendar=[line])
    order = [
        [entry["vm"] for entry in answer("recover", "h1", "--snapshot", path, *when)["restarts"]]
        for when in ((), ("--now", "2026-05-04T22:30"))
    ]
    assert order == [["first", "second"], ["second", "first"]]
    kept = {"name": "kept", "vms": ["first"], "start": "22:00", "end": "23:00", "reservation": 1}
    path = changed(plant, vms=vms, calendar=[kept])
    fits = [
        answer("capacity", "--snapshot", path, "--like", "first", *when)["fits"]
        for when in ((), ("--now", "2026-05-04T22:30"))
    ]
    # What has a core reserved for it fits as often as there are cores left: 8 on each of three, one is taken.
    assert fits[1] == 23
    assert fits[0] > 23


def test_a_drain_keeps_to_a_limit_of_links(plant: Path) -> None:
    words = ("drain", "h1", "--snapshot", plant, "--per-host", "4")
    starts = [
        {leg["start_s"] for leg in answer(*words, *limit)["legs"] if leg["target"] == "h3"}
        for limit in ((), ("--per-link", "1"))
    ]
    assert [len(found) for found in starts] == [1, 2]
    assert run(*words, "--per-link", "0").exit_code == 2


def test_a_drain_says_which_moves_need_an_approval(plant: Path) -> None:
    vms = [
        {"name": name, "vcpus": 1, "memory_bytes": GIB, "host": "h2", "movability": how}
        for name, how in (("plc", "approval"), ("cae", "free"))
    ]
    path = changed(plant, vms=vms)
    result = run("drain", "h2", "--snapshot", path)
    assert result.exit_code == 3, result.output
    assert "h2 can be emptied with the approval of plc; 2 moves" in result.output
    said = answer("drain", "h2", "--snapshot", path)
    assert said["approvals"] == ["plc"]
    assert {leg["vm"]: leg["approval"] for leg in said["legs"]} == {"plc": True, "cae": False}
    assert run("drain", "h2", "--snapshot", path, "--approved").exit_code == 0
    rolling = run("drain", "--rolling", "--snapshot", path)
    assert rolling.exit_code == 3, rolling.output
    assert "with the approval of plc" in rolling.output
    assert run("drain", "--rolling", "--snapshot", path, "--approved").exit_code == 0
    assert "Exit codes" in run("drain", "--help").output
    assert "Exit codes" in run("plan", "--help").output


ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = re.findall(
    r"^\| `millwright (.*?)` \| (\d) \|",
    (ROOT / "examples" / "balancing" / "README.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_the_example_shows_every_command() -> None:
    shown = {words.split()[0] for words, _code in EXAMPLES}
    assert shown == {"plan", "balance", "drain", "capacity", "recover"}


@pytest.mark.parametrize(("words", "code"), EXAMPLES)
def test_commands_of_the_example_end_as_it_says(
    words: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    result = run(*shlex.split(words))
    assert result.exit_code == int(code), result.output
    assert isinstance(result.exception, SystemExit | None), result.exception


def test_without_a_file_the_running_plant_is_asked(
    plant: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, str]] = []

    class Portal:
        def get(self, path: str, **query: str) -> Any:
            assert path == "hosts/snapshot/"
            asked.append(query)
            return json.loads(plant.read_text(encoding="utf-8"))

    monkeypatch.setattr("millwright.cli.client.Api.from_settings", Portal)
    assert answer("drain", "h1")["possible"]
    assert answer("balance", "--lasting")["moves"]
    assert answer("capacity", "--like", "plc", "--now", "2026-05-04T22:00")["fits"] == 5
    assert answer("recover", "h1")["restarts"]
    assert answer("plan", "--from-plant")["placed"]
    assert [query["at"] for query in asked] == ["now", "now", "2026-05-04T22:00", "now", "now"]
    assert "either --from-plant or a SNAPSHOT" in run("plan", "--from-plant", plant).output


def test_without_a_file_and_a_portal_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> None:
        raise CliError("no token")

    monkeypatch.setattr("millwright.cli.client.Api.from_settings", nobody)
    assert told(run("drain", "h1")) == "no token; or give a snapshot of a plant"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "line 1, column 1"),
        (b'{"hosts": [', "line 1, column 12"),
        (b'{"hosts":\n oops}', "line 2, column 2"),
        (b'{"hosts": []}\xff', "byte 14 is no text in UTF-8"),
    ],
)
def test_what_is_no_snapshot_is_said_with_its_place_and_what_is_wanted(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(data)
    for command in (["plan", path], ["balance", "--snapshot", path]):
        told = run(*command).exception
        assert isinstance(told, CliError)
        assert str(told).startswith(f"{path}: {words}")
        assert "a snapshot as JSON is wanted" in str(told)


def test_a_plan_without_a_host_that_lives_names_that(plant: Path) -> None:
    told = json.loads(plant.read_text(encoding="utf-8"))
    told["settings"]["spare_hosts"] = 1
    for host in told["hosts"]:
        host["state"] = "down"
    plant.write_text(json.dumps(told), encoding="utf-8")
    result = run("plan", plant)
    assert result.exit_code == 1
    assert "not: no host is alive: no place is left for" in result.output
