"""Which variables another program takes over, and why it cannot."""

from __future__ import annotations

import struct

import pytest

from industrial.runtime.carry import plan
from industrial.runtime.settings import RuntimeSettings, SettingsError
from industrial.st import Compiled, Config, TaskConfig, compile_project

TASKS = (TaskConfig("main", 10_000, 1, 0, ("Main",)),)


def _compile(declarations: str, types: str = "", body: str = "") -> Compiled:
    source = f"{types}\nPROGRAM Main\n{declarations}\n{body};\nEND_PROGRAM\n"
    compiled = compile_project({"src/main.st": source}, Config("p", "1", tasks=TASKS))
    assert compiled.ok, [row.render() for row in compiled.diagnostics]
    return compiled


def _plan(old: str, new: str, types: str = "", new_types: str | None = None) -> tuple[Compiled, Compiled, object]:  # fmt: skip
    a, b = _compile(old, types), _compile(new, types if new_types is None else new_types)
    return a, b, plan(a.symbols, b.symbols)


def _where(compiled: Compiled, path: str) -> tuple[int, int]:
    row = next(row for row in compiled.symbols["symbols"] if row["path"] == path)
    return row["offset"], row["size"]


def _targets(data: bytes, kind: int) -> dict[int, int]:
    """Byte of the old layout → byte of the new one."""
    assert data[:8] == b"VPLCCAR1"
    whole, count = struct.unpack_from("<II", data, 72)
    assert whole == 0
    found = {}
    for n in range(count):
        what, origin, target, size = struct.unpack_from("<4I", data, 80 + 16 * n)
        if what == kind:
            found |= {origin + k: target + k for k in range(size)}
    return found


def test_variables_are_carried_by_name_and_type_wherever_they_lie() -> None:
    old = "VAR a : INT; b : LREAL; t : TON; list : ARRAY[1..3] OF STRING[5]; k : INT; END_VAR"
    new = "VAR first : LREAL; list : ARRAY[1..3] OF STRING[5]; t : TON; b : LREAL; a : INT; END_VAR"
    a, b, carry = _plan(old, new)
    assert carry.online, carry.reasons
    assert (carry.added, carry.removed) == (["Main.first"], ["Main.k"])
    where = _targets(carry.data, 0)
    for path in ("Main.a", "Main.b", "Main.t.ET", "Main.list"):
        (origin, size), (target, _) = _where(a, path), _where(b, path)
        assert [where[origin + n] for n in range(size)] == [target + n for n in range(size)], path
    assert _where(a, "Main.k")[0] not in where


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("VAR a : INT; END_VAR", "VAR a : DINT; END_VAR", "Main.a was INT, is DINT"),
        ("VAR a : STRING[5]; END_VAR", "VAR a : STRING[9]; END_VAR", "Main.a was STRING[5], is STRING[9]"),
        ("VAR a : ARRAY[1..2] OF INT; END_VAR", "VAR a : ARRAY[0..2] OF INT; END_VAR", "Main.a was ARRAY[1..2] OF INT, is ARRAY[0..2] OF INT"),
        ("VAR a AT %QW0 : INT; END_VAR", "VAR a AT %QW1 : INT; END_VAR", "Main.a was at %QW0, is at %QW1"),
        ("VAR a : INT; p : REF_TO INT; END_VAR", "VAR z, a : INT; p : REF_TO INT; END_VAR", "Main.p is a reference"),
    ],
)  # fmt: skip
def test_what_cannot_keep_its_value_is_the_reason(old: str, new: str, reason: str) -> None:
    carry = _plan(old, new)[2]
    assert not carry.online
    assert reason in carry.reasons[0]
    assert carry.lost == carry.reasons


def test_an_enumeration_may_grow_and_not_be_renumbered() -> None:
    declaration = "VAR c : Colour; END_VAR"
    types = "TYPE Colour : (red, green); END_TYPE"
    grown = _plan(declaration, declaration, types, "TYPE Colour : (red, green, blue); END_TYPE")[2]
    assert grown.online
    other = _plan(declaration, declaration, types, "TYPE Colour : (green, red); END_TYPE")[2]
    assert "red was 0, is 1" in other.reasons[0]


def test_a_constant_is_the_new_programs_and_new_outputs_take_their_initial_values() -> None:
    old = "VAR CONSTANT k : INT := 1; END_VAR VAR a AT %QW0 : INT; END_VAR"
    new = "VAR CONSTANT k : INT := 2; END_VAR VAR a AT %QW0 : INT; b AT %QW5 : INT := 7; END_VAR"
    a, _, carry = _plan(old, new)
    assert carry.online
    constant = _where(a, "Main.k")[0] if any(r["path"] == "Main.k" for r in a.symbols["symbols"]) else -1  # fmt: skip
    assert constant not in _targets(carry.data, 0)
    # Kind 1: area Q, bytes 10 and 11.
    assert _targets(carry.data, 1) == {1: 10, 2: 11}


def test_other_tasks_and_the_same_code_by_another_compiler() -> None:
    one = _compile("VAR a : INT; END_VAR")
    other = {**one.symbols, "tasks": []}
    assert plan(one.symbols, other).reasons == ["the tasks differ"]
    whole = plan(one.symbols, one.symbols, same_code=True)
    assert whole.online
    assert struct.unpack_from("<I", whole.data, 72) == (1,)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"start": {"mode": "soft"}}, "start.mode = 'soft': one of cold, warm, hot"),
        ({"start": {"input_timeout_ms": -1}}, "start.input_timeout_ms = -1: 0 to 600000"),
        ({"start": {"retain_period_ms": 5000}}, "start.retain_period_ms = 5000: 100 to 1000"),
        ({"outputs": {"on_stop": "keep"}}, "outputs.on_stop = 'keep': one of zero, hold, substitute"),
        ({"outputs": {"on_halt": "zero"}}, "outputs.on_halt is not known"),
        ({"start": 3}, "start = 3: a table"),
    ],
)  # fmt: skip
def test_settings_that_break_a_rule_are_named(manifest: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=r"vplc\.toml") as caught:
        RuntimeSettings.parse(manifest)
    assert said in str(caught.value)
    assert RuntimeSettings.parse({"start": {"mode": "hot", "input_timeout_ms": 5}}).engine_conf() == (
        "start_mode 3\ninput_timeout_ms 5\nretain_period_ms 500\n"
    )  # fmt: skip
