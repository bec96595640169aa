"""Sources that were damaged: the compiler tells what is wrong or emits C that tcc accepts; it never crashes.

`FUZZ_S` sets the seconds of the long run (600 unless told), `FUZZ_SEED` its seed.
"""

from __future__ import annotations

import os
import random
import re
import time
from functools import cache
from pathlib import Path

import pytest

from industrial.library import sources as library
from industrial.st import Config, compile_project
from industrial.st.build import accept
from tests.unit.industrial.conformance import suite

ROOT = Path(__file__).resolve().parents[4]
_WORDS = (
    "IF THEN ELSE END_IF CASE OF END_CASE FOR TO BY DO END_FOR VAR END_VAR VAR_INPUT VAR_IN_OUT PROGRAM FUNCTION "
    "FUNCTION_BLOCK END_PROGRAM END_FUNCTION TYPE END_TYPE STRUCT END_STRUCT ARRAY STRING WSTRING REF_TO POINTER "
    "INT LINT ULINT REAL BOOL TIME DT NULL THIS SUPER AT RETAIN CONSTANT METHOD END_METHOD EXTENDS INITIAL_STEP STEP "
    "END_STEP TRANSITION END_TRANSITION ACTION END_ACTION := => ( ) [ ] ^ . .. , ; : + - * / ** MOD AND OR NOT = <> < "
    "16#FFFF 2#1 1E400 -9223372036854775808 99999999999999999999999 0 1 'x' \"y\" '$' T#1s T#99999999d D#2024-02-30 "
    '%IX0.0 %QW99999 %M* ADR(x) SIZEOF REF( SEL( MUX( LIMIT( (* *) // { } @ \\ " \' é \x00 /* system("id") */ #include'
)
WORDS = _WORDS.split(" ")
_TOKEN = re.compile(r"\s+|\w+#?[\w.:#-]*|:=|=>|\.\.|.", re.S)


@cache
def corpus() -> tuple[str, ...]:
    """Sources that are right."""
    texts = [text for _, text in library()]
    texts += [path.read_text() for path in sorted((ROOT / "examples").rglob("*.st"))]
    for number, case in enumerate(suite.load("sequences.yaml")):
        texts.append(suite._case_source(number, case))
    return tuple(texts)


def damaged(rng: random.Random) -> str:
    """A source with some of its tokens gone, doubled, exchanged, or replaced by others."""
    tokens = _TOKEN.findall(rng.choice(corpus()))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(tokens))
        choice = rng.random()
        if choice < 0.25:
            del tokens[at : at + rng.randint(1, 4)]
        elif choice < 0.4:
            tokens.insert(at, tokens[rng.randrange(len(tokens))])
        elif choice < 0.55:
            other = rng.randrange(len(tokens))
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif choice < 0.85:
            tokens[at] = rng.choice(WORDS)
        elif choice < 0.9:
            tokens[at] = tokens[at] * rng.randint(2, 300)
        elif choice < 0.95:
            tokens[at:at] = [*_TOKEN.findall(rng.choice(corpus()))[: rng.randint(1, 60)]]
        else:
            tokens[at] = "".join(chr(rng.randrange(1, 0x250)) for _ in range(rng.randint(1, 8)))
        if not tokens:
            tokens = [" "]
    return "".join(tokens)


def one(rng: random.Random) -> bool:
    """Compile one damaged source; whether it was still right."""
    source, dialect = damaged(rng), rng.choice(("iec", "codesys23"))
    try:
        result = compile_project({"fuzz.st": source}, Config(name='"; x', dialect=dialect))
    except Exception as error:
        error.add_note(f"dialect {dialect}, source:\n{source}")
        raise
    for item in result.diagnostics:
        assert item.message
        assert item.render()
        assert item.line >= 1
    if not result.ok:
        assert any(item.severity == "error" for item in result.diagnostics)
        return False
    assert result.c_source.isascii()
    accept(result.c_source)
    return True


def test_some_hundred_damaged_sources() -> None:
    rng = random.Random(1)  # noqa: S311 - damage, not secrets
    right = sum(one(rng) for _ in range(150))
    assert 0 < right < 150


@pytest.mark.full
def test_damaged_sources_for_ten_minutes() -> None:
    seed = int(os.environ.get("FUZZ_SEED", time.time_ns()))
    rng = random.Random(seed)  # noqa: S311 - as above
    until = time.monotonic() + float(os.environ.get("FUZZ_S", "600"))
    count = right = 0
    while time.monotonic() < until:
        right += one(rng)
        count += 1
    print(f"{count} sources, {right} of them right, seed {seed}")
    assert count > right > 0
