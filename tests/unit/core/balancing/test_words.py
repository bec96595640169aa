"""What the balancer says is data too: each code has its sentence, in each language, and is read from what is kept."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace

import pytest
from django.conf import settings as django
from django.utils import translation
from hypothesis import HealthCheck, given, settings
from millwright.core.balancing import (
    Code,
    Host,
    HostState,
    Mode,
    Plant,
    Refusal,
    Said,
    Settings,
    Vm,
    admit,
    balance,
    capacity,
    drain,
    explain,
    parts_of,
    read,
    recover,
    runs_out,
    say,
    together,
)
from millwright.core.balancing.sentences import MODES, NUMBERS, RUNS_OUT, SENTENCES, STATES
from millwright.environments.reasons import said

from .plants import GIB, plants

LANGUAGES = [code for code, _name in django.LANGUAGES]
_HOLE = re.compile(r"%\((\w+)\)s")
#: Sentences of nothing but facts.
BARE = {"text", "note.mended", "note.of"}
#: Codes of two words, which are nobody's words.
_CODES = {str(code) for code in Code if "_" in code}


def _facts(sentence: str) -> dict[str, object]:
    """Something for each hole."""
    found: dict[str, object] = {}
    for name in _HOLE.findall(sentence):
        number = name.endswith(("_ratio", "_bytes", "_s"))
        found[name] = 0.5 if number else "down" if name == "state" else f"{name}-1"
    return found


def test_every_code_has_its_sentence() -> None:
    of_hosts = {key.partition(".")[2] for key in SENTENCES if key.startswith("at.")}
    for code in Code:
        assert str(code) in SENTENCES or str(code) in of_hosts, code
    for code in of_hosts - {"storage_shared"}:
        assert f"all.{code}" in SENTENCES, code


@pytest.mark.parametrize("language", [code for code in LANGUAGES if code != "en"])
def test_every_sentence_is_said_in_every_language(language: str) -> None:
    words = {**SENTENCES, **{f"state {key}": text for key, text in STATES.items()}}
    words |= {f"mode {key}": text for key, text in MODES.items()}
    with translation.override(language):
        for key, sentence in words.items():
            if key in BARE:
                continue
            assert translation.gettext(sentence) != sentence or key == "note.of", key
            if key in SENTENCES:
                text = said(say(key, **_facts(sentence)))
                assert text != str(say(key, **_facts(sentence))), key
                assert "%(" not in text, key
        for text in NUMBERS.values():
            assert set(_HOLE.findall(translation.gettext(text))) == set(_HOLE.findall(text))


def test_numbers_are_written_as_the_language_writes_them() -> None:
    text = say("at.memory", host="h1", wanted_bytes=1.5 * GIB, free_bytes=0.25 * GIB)
    assert text == "it asks for 1.5 GiB of memory, 0.2 GiB are free on h1"
    with translation.override("de"):
        assert said(text) == "sie verlangt 1,5 GiB Arbeitsspeicher, 0,2 GiB sind auf h1 frei"
    # Rounded, not cut, as in English.
    near = say("at.memory", host="h1", wanted_bytes=1.96 * GIB, free_bytes=0.0)
    with translation.override("en"):
        assert said(near) == near
        assert "2.0 GiB" in near
    with translation.override("de"):
        assert "2,0 GiB" in said(near)
    hot = say("move.hot_cpus", host="h1", threshold_ratio=0.8, count=3)
    with translation.override("zh-hans"):
        assert said(hot) == "h1 的 CPU 高于 80% 已有 3 轮"


def test_it_is_kept_and_read_again_with_sentences_within() -> None:
    inner = together(
        (
            say("at.vcpus", host="h3", wanted=118, free=56),
            say("at.host_state", host="h3", state="down"),
        )
    )
    text = say("no_host", machine="line/vplc", why=inner)
    assert text == (
        "no host takes line/vplc: it asks for 118 vCPUs, 56 are free on h3; "
        "h3 takes nothing new: it is down"
    )
    kept = json.loads(json.dumps(parts_of(text)))
    assert read(kept) == text
    assert kept[0]["facts"]["why"][0] == {
        "code": "at.vcpus",
        "facts": {"host": "h3", "wanted": 118, "free": 56},
    }
    with translation.override("de"):
        assert said(Said(str(text), kept)) == (
            "kein Host nimmt line/vplc auf: sie verlangt 118 vCPUs, 56 sind auf h3 frei; "
            "h3 nimmt nichts Neues auf: ausgefallen"
        )


@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(plants())
def test_what_runs_out_first_has_words_in_every_language(plant: Plant) -> None:
    for wanted in plant.vms[:3]:
        for name in capacity(plant, wanted).limited_by:
            assert runs_out(name, lambda text: f"!{text}").startswith("!"), name
    for language in LANGUAGES:
        if language != "en":
            with translation.override(language):
                for text in RUNS_OUT.values():
                    assert translation.gettext(text) != text


def test_where_no_host_lacks_anything_it_is_said_why_none_takes_it() -> None:
    """The only host of a plant, and a host to which a person said no."""
    guest = Vm("a", 1, GIB, host="h1")
    alone = Plant((Host("h1", 4, 8 * GIB),), (guest,))
    assert [row.text for row in drain(alone, ["h1"]).blockers] == [
        "no other host takes a: there is no other host"
    ]
    emptied = Plant(
        (Host("h1", 4, 8 * GIB, state=HostState.DRAINING), Host("h2", 4, 8 * GIB)),
        (guest,),
        settings=Settings(mode=Mode.AUTOMATIC),
    )
    told = [row.text for row in balance(emptied, rejected={("a", "h2")}).refused]
    assert told[-1] == (
        "a: h1 is being drained; no host takes it now: a person said no to its moves to the hosts that could take it"
    )


def test_of_many_names_the_first_are_said() -> None:
    text = say("note.gone", names=[f"m{number}" for number in range(12)])
    assert text == "on no host any more: m0, m1, m2, m3, m4, m5, m6 and 5 more"


def test_what_others_wrote_and_what_a_later_release_says_is_read_too() -> None:
    assert read(parts_of("qemu: permission denied")) == "qemu: permission denied"
    assert parts_of("") == []
    assert "new_code" in read([{"code": "new_code", "facts": {}}])
    # A row of before has its English text alone.
    with translation.override("de"):
        assert said(Said("it was the moon", ())) == "it was the moon"


def test_an_answer_as_plain_data_keeps_it() -> None:
    refusal = Refusal("a", (Code.COOLDOWN,), say("cooldown", machine="a"))
    copy = asdict(refusal)["text"]
    assert (copy, parts_of(copy)) == (refusal.text, parts_of(refusal.text))


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(plants())
def test_each_answer_of_the_balancer_is_data(plant: Plant) -> None:
    """What rounds, drains, placements, recoveries and explanations of drawn plants say, is said again by its data."""
    spared = replace(plant, settings=replace(plant.settings, spare_hosts=1))
    texts: list[str] = []
    for made in (balance(plant), balance(spared)):
        texts += [each.text for each in (*made.refused, *made.violations, *made.moves)]
    first = plant.hosts[0].name
    emptied = drain(plant, [first])
    texts += [each.text for each in (*emptied.blockers, *emptied.moves)]
    large = Vm("large", 4, 64 * GIB, cores=9, hugepage="1G", cpu_model="none", gpus={"a16": 9})
    answers = admit(plant, [large]).placed[0].answers
    texts += [text for answer in answers for text in answer.texts]
    lost = recover(plant, [first])
    texts += [each.text for each in (*lost.waiting, *lost.left)]
    for machine in plant.vms:
        why = explain(plant, machine.name)
        texts += [why.text, *(hold.text for hold in why.holds)]
        texts += [text for answer in why.answers for text in answer.texts]
    for text in texts:
        assert isinstance(text, Said), text
        assert read(json.loads(json.dumps(text.parts))) == text
        assert not _CODES & set(re.findall(r"[a-z]+_[a-z_]+", text)), text
        assert "()" not in text, text
