"""What processes write has words in each language: titles of steps, what placement and operations say."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.utils import translation
from millwright.core.placement import filters
from millwright.environments.reasons import said
from millwright.environments.sentences import SENTENCES
from millwright.operations.kinds import SAGAS
from millwright.operations.spec import WORDS
from millwright.portal.words import STEPS

OTHERS = [code for code, _name in settings.LANGUAGES if code != "en"]
#: Words that a language may have from English as they are.
SAME = {"Start", "Firewall"}


def test_every_step_of_every_operation_has_a_title_in_each_language() -> None:
    titles = {step.title for saga in SAGAS.values() for step in saga.steps}
    assert titles <= set(STEPS)
    for language in OTHERS:
        with translation.override(language):
            same = {title for title in titles if str(STEPS[title]) == title}
        assert same <= SAME, (language, same)


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_read_in_each_language(language: str) -> None:
    for written, read in SENTENCES:
        with translation.override(language):
            assert str(read) != written or "%(" in written, written
        with translation.override("en"):
            assert str(read) == written


@pytest.mark.parametrize(
    ("written", "german"),
    [
        ("no hugepages; memory is not locked", "keine großen Speicherseiten; Speicher nicht gesperrt"),
        ("memory: 704 MiB wanted, 12 MiB free of 4096 MiB", "Arbeitsspeicher: 704 MiB verlangt, 12 MiB frei von 4096 MiB"),
        ("mw0-h1, CPU 1, 2 of its own, address 10.90.1.100", "mw0-h1, CPU 1, 2 für sich, Adresse 10.90.1.100"),
        ("the host has no way into cell 'line1'", "der Host hat keinen Weg in die Zelle 'line1'"),
        ("4 KiB, running, begun anew", "4 KiB, läuft, neu begonnen"),
        ("line-1/vplc stays on h1: its best move, to h2, is worth -6 core-seconds, of which 15 must be exceeded", "line-1/vplc bleibt auf h1: ihr bester Umzug, nach h2, bringt -6 Kernsekunden; mehr als 15 müssten es sein"),
        ("line-1/vplc is on h1, which is down: it is recovered, not moved", "line-1/vplc ist auf h1, der ausgefallen ist: Sie wird wiederhergestellt, nicht umgezogen"),
        ("runs on h2 after 3.2 s, pause 20 ms, by the hosts' relays", "läuft auf h2 nach 3.2 s, Pause 20 ms, durch die Relais der Hosts"),
        ("somebody wrote this; and this", "somebody wrote this; and this"),
    ],
)  # fmt: skip
def test_sentences_with_holes(written: str, german: str) -> None:
    with translation.override("de"):
        assert said(written) == german
    with translation.override("en"):
        assert said(written) == written


#: what a placement says of a host that sleeps
_SLEEP = ("the host is falling asleep", "the host is asleep", "the host is waking")


def test_what_placement_says_is_known() -> None:
    with translation.override("de"):
        for name in ("the host is down", "the host is in maintenance", *_SLEEP, *WORDS.values()):
            assert said(name) != name
        for sentence in (
            "hugepages of 2 MiB: 512 wanted, 3 free",
            "the host's CPU has not all that is wanted: avx2, sse4.2",
            "it was started with kvm and the host runs guests by emulation",
            "graphics cards: 1 wanted, 0 free of any model",
            "network bandwidth: 800 Mbit/s wanted, 200 Mbit/s free",
            "the host has no storage pool 'fast' that is active",
            "memory of resource pool 'works': 704 MiB wanted, 12 MiB free of its limit of 4096 MiB",
            "NUMA nodes: none has 2 free cores and 512 free hugepages of 2 MiB",
            "vGPU instances of a16-2q: 2 wanted, 1 free",
            "the host has not told yet which vGPU profiles it has",
            "not known whether the host has it: CPU features",
        ):
            assert said(sentence) != sentence
    assert len(filters.FILTERS) == 17, "a new rule wants its sentence in environments/sentences.py"
