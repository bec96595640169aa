"""What the balancer has kept is read in each reader's language: pages, API, rows of before."""

from __future__ import annotations

import html
import re

import pytest
from django.test import Client
from django.utils import timezone, translation
from millwright.balancing import recommending
from millwright.balancing.models import (
    BalanceRound,
    HostDrain,
    MovePlan,
    Recommendation,
    RollingDrain,
)
from millwright.core.balancing import Code, Said, parts_of, say, together
from millwright.core.balancing.sentences import SENTENCES
from millwright.environments.models import Machine
from millwright.environments.moving import why_not_movable
from millwright.environments.reasons import said

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant

__all__ = ["machines"]

#: Codes of two words, which are nobody's words.
CODES = {str(code) for code in Code if "_" in code} | {"host state", "cpu reservation"}
_HOLE = re.compile(r"%\((\w+)\)s")


def _filled(code: str) -> str:
    """The sentence with something in each hole."""
    facts = {
        name: 0.5
        if name.endswith(("_ratio", "_bytes", "_s"))
        else "down"
        if name == "state"
        else "x1"
        for name in _HOLE.findall(SENTENCES[code])
    }
    return say(code, **facts)


@pytest.fixture
def told(plant: Plant, machines: list[Machine]) -> Machine:
    """A round with every sentence, a move, a plan, a drain and a rolling drain, each with its words."""
    recommending.set_mode(plant.operator, "recommend")
    now = timezone.now()
    machine = machines[0]
    sentences = [_filled(code) for code in SENTENCES if code != "text"]
    BalanceRound.objects.create(
        at=now,
        mode="recommend",
        level=3,
        refused=[
            {"machine": "x1", "code": str(code), "text": str(text), "parts": parts_of(text)}
            for code in Code
            for text in sentences[:: len(Code)]
        ],
        counts={str(code): 1 for code in Code},
        violations=[
            {
                "kind": "apart",
                "subject": "r",
                "text": str(text),
                "parts": parts_of(text),
                "why": str(text),
                "why_parts": parts_of(text),
                "mending": False,
            }
            for text in sentences
        ],
        broken=len(sentences),
    )
    hot = together(
        (
            say("move.hot_cpus", host="mw0-h1", threshold_ratio=0.8, count=3),
            say("move.suffered", suffered_s=12.0),
        )
    )
    note = say("note.later_host", host="mw0-h2")
    plan = MovePlan.objects.create(
        text=str(hot), text_parts=parts_of(hot), seconds=1.0, note=str(note), note_parts=parts_of(note),
        state="superseded",
    )  # fmt: skip
    for state, of in (("open", None), ("superseded", None), ("superseded", plan)):
        Recommendation.objects.create(
            machine=machine, source=plant.hosts[0], destination=plant.hosts[1], why="contention",
            text=str(hot), text_parts=parts_of(hot), note=str(note), note_parts=parts_of(note),
            seconds=1.0, mode="recommend", state=state, plan=of,
        )  # fmt: skip
    blocks = say("never_moves", machine=str(machine))
    HostDrain.objects.create(
        host=plant.hosts[0],
        blockers=[{"machine": str(machine), "why": str(blocks), "parts": parts_of(blocks)}],
    )
    RollingDrain.objects.create(
        hosts=[plant.hosts[0].name], note=str(blocks), note_parts=parts_of(blocks)
    )
    return machine


def _pages(plant: Plant, machine: Machine) -> list[str]:
    drain = RollingDrain.objects.get()
    host = plant.hosts[0].name
    return [
        "/balancing/",
        "/balancing/earlier/",
        f"/machines/{machine.pk}/place/",
        f"/pool/{host}/",
        f"/pool/{host}/drain/",
        f"/rolling-drains/{drain.pk}/",
    ]


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("has been above 80% of its CPUs for 3 rounds", "a later round wants it on mw0-h2", "never moves: its policy")),
        ("de", ("ist seit 3 Runden über 80 % seiner CPUs", "eine spätere Runde will sie auf mw0-h2", "zieht nie um")),
        ("zh-hans", ("mw0-h1 的 CPU 高于 80% 已有 3 轮", "mw0-h2", "mw0-h1")),
    ],
)  # fmt: skip
def test_no_page_shows_a_code_and_each_speaks_the_readers_language(
    plant: Plant, told: Machine, client: Client, language: str, words: tuple[str, ...]
) -> None:
    client.force_login(plant.operator)
    client.cookies["django_language"] = language
    seen = ""
    for url in _pages(plant, told):
        answer = client.get(url)
        assert answer.status_code == 200, url
        text = re.sub(r"<(script|style|head)\b.*?</\1>", " ", answer.content.decode(), flags=re.S)
        text = html.unescape(re.sub(r"<[^>]*>", " ", text))
        found = {code for code in CODES if re.search(rf"\b{code}\b", text)}
        assert not found, (url, found)
        assert "%(" not in text, url
        seen += text
    for word in words:
        assert word in seen, word


def test_the_api_gives_text_and_data(plant: Plant, told: Machine, client: Client) -> None:
    client.force_login(plant.operator)
    german = {"accept-language": "de"}
    row = client.get("/api/v1/recommendations/?state=open", headers=german).json()["results"][0]
    assert row["text"].startswith("mw0-h1 ist seit 3 Runden über 80 % seiner CPUs; 12 Kernsekunden")
    assert row["text_parts"] == [
        {"code": "move.hot_cpus", "facts": {"host": "mw0-h1", "threshold_ratio": 0.8, "count": 3}},
        {"code": "move.suffered", "facts": {"suffered_s": 12.0}},
    ]
    assert row["note_parts"] == [{"code": "note.later_host", "facts": {"host": "mw0-h2"}}]
    english = client.get("/api/v1/recommendations/?state=open").json()["results"][0]
    assert english["text"].startswith("mw0-h1 has been above 80% of its CPUs for 3 rounds; ")
    round_ = client.get("/api/v1/recommendations/round/", headers=german).json()["round"]
    assert {entry["code"] for entry in round_["refused"]} == {str(code) for code in Code}
    assert all(entry["parts"] and entry["text"] for entry in round_["refused"])
    rolling = client.get("/api/v1/rolling-drains/", headers=german).json()["results"][0]
    assert "zieht nie um" in rolling["note"]
    assert rolling["note_parts"][0]["code"] == "never_moves"


def test_a_row_of_before_keeps_its_english_text(
    plant: Plant, told: Machine, client: Client
) -> None:
    """The release before writes no data: the database fills the columns, and the text is shown as it is."""
    old = "mw0-h1 was busy for a reason of before"
    Recommendation.objects.filter(state="open").update(text=old, text_parts=[])
    newest = BalanceRound.objects.get()
    newest.refused = [{"machine": "x1", "code": "cooldown", "text": "it rested, before"}]
    newest.violations = [
        {
            "kind": "apart",
            "subject": "r",
            "text": "rule r: before",
            "why": "of old",
            "mending": False,
        }
    ]
    newest.save()
    client.force_login(plant.operator)
    client.cookies["django_language"] = "de"
    page = client.get("/balancing/").content.decode()
    for text in (old, "it rested, before", "rule r: before", "of old"):
        assert text in page, text
    row = client.get("/api/v1/recommendations/?state=open").json()["results"][0]
    assert (row["text"], row["text_parts"]) == (old, [])
    round_ = client.get("/api/v1/recommendations/round/").json()["round"]
    assert round_["refused"][0] == {
        "machine": "x1", "code": "cooldown", "text": "it rested, before", "parts": [],
    }  # fmt: skip


def test_what_others_said_is_read_in_the_readers_language_too() -> None:
    """An operation's error or a refused move stands among the balancer's sentences as text."""
    own = "mw0-h1 does not answer"
    for kept in (
        Said(own, parts_of(own)),
        say("note.of", machine="one/m", why=own),
        say("note.of", machine="one/m", why=Said(own, parts_of(own))),
        say("blocked", machine="one/m", host="mw0-h2", why=own),
    ):
        assert own in kept
        with translation.override("de"):
            assert "mw0-h1 antwortet nicht" in said(kept), kept.parts
    with translation.override("de"):
        assert said(Said("Zaun offen", parts_of("Zaun offen"))) == "Zaun offen"


def test_why_a_machine_is_not_moved_is_read_in_the_readers_language(
    plant: Plant, machines: list[Machine]
) -> None:
    """Rounds ask for it in English, and keep the answer as what stands in a drain's way."""
    machine = machines[0]
    for change in (
        {"movability": "never"},
        {"movability": "window"},
        {"movability": "approval"},
        {"movability": "free", "observed": "stopped"},
        {"host": None},
    ):
        for name, value in change.items():
            setattr(machine, name, value)
        kept = why_not_movable(machine, approved=False)
        with translation.override("de"):
            wanted = why_not_movable(machine, approved=False)
            if "observed" in change:
                wanted = wanted.replace("stopped", "angehalten")
            assert wanted != kept
            assert said(together([kept])) == wanted
