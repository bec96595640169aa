"""The calendar on its page: written line by line, put in order, taken back; what stands against a line."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.balancing import entitling, hours, lines, pooling
from millwright.balancing.lines import Draft
from millwright.balancing.pooling import PoolDraft
from millwright.environments.models import Machine

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant

__all__ = ["machines"]
NIGHT = Draft("night", pools=("cae",), start="22:00", end="06:00", shares="9000")
FORM: dict[str, Any] = {"name": "night", "pool": ["cae"], "shares": "9000", "verb": "save"}
URL = "/balancing/calendar/"


@pytest.fixture
def shop(plant: Plant, machines: list[Machine]) -> list[Machine]:
    """Pools cad and cae, the second machine in cae."""
    for name in ("cad", "cae"):
        pooling.save_pool(plant.operator, PoolDraft(name))
    entitling.set_entitlement(plant.operator, machines[1], pool="cae")
    return machines


def _names() -> list[str]:
    return [line["name"] for line in hours.kept()]


def test_a_line_is_written_changed_put_in_order_removed_and_taken_back(
    plant: Plant, shop: list[Machine]
) -> None:
    keeper = plant.operator
    lines.save_line(keeper, NIGHT)
    rush = Draft("rush", vms=(str(shop[0]),), until="2999-05-08T12:00", priority="9", window=True)
    lines.save_line(keeper, rush, reason="order 4711")
    lines.save_line(keeper, Draft("day", pools=("cad",), days=(4, 0), shares="7"))
    assert [line.when for line in hours.told()][2] == "Mon, Fri"
    assert hours.kept() == [
        {"name": "night", "pools": ["cae"], "start": "22:00", "end": "06:00", "shares": 9000},
        {
            "name": "rush",
            "vms": [str(shop[0])],
            "until": "2999-05-08T12:00",
            "priority": 9,
            "window": True,
        },
        {"name": "day", "pools": ["cad"], "days": [0, 4], "shares": 7},
    ]
    assert [lines.draft_of(line) for line in hours.kept()][:2] == [NIGHT, rush]
    lines.move_line(keeper, "day", -1)
    lines.move_line(keeper, "night", -1)
    lines.move_line(keeper, "rush", 5)
    assert _names() == ["night", "day", "rush"]
    lines.save_line(keeper, Draft("nights", pools=("cae",), reservation="1,5"), old="night")
    assert _names() == ["nights", "day", "rush"]
    lines.remove_line(keeper, "day", "no shift")
    assert _names() == ["nights", "rush"]
    lines.put_back(keeper, "it is one")
    assert _names() == ["nights", "day", "rush"]
    lines.put_back(keeper)
    assert _names() == ["nights", "rush"]
    trail = AuditEntry.objects.filter(action="balancer.calendar").order_by("pk")
    # What changed nothing has left no trail.
    assert len(trail) == 8
    assert trail[1].reason == "order 4711"
    assert trail[4].details["before"][0]["shares"] == 9000
    assert trail[4].details["changed"] == [{"name": "nights", "pools": ["cae"], "reservation": 1.5}]
    assert trail[5].details["before"][0]["name"] == "day"


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"name": ""}, "name", "from 1 to 48"),
        ({"name": "day"}, "name", "already"),
        ({"pools": ()}, "whom", "at least one pool or machine"),
        ({"pools": ("x",)}, "pools", "no pool is named 'x'"),
        ({"vms": ("x/y",)}, "vms", "no machine that runs in the pool is named 'x/y'"),
        ({"start": "6"}, "start", "a time like 06:00"),
        ({"end": "²²:00"}, "end", "a time like 06:00"),
        ({"until": "Friday"}, "until", "a moment like"),
        ({"until": "9999-12-31T23:59"}, "until", "a year from 2000 to 2999"),
        ({"shares": "many"}, "shares", "'many' is not a whole number"),
        ({"shares": "0"}, "shares", "above 0"),
        ({"shares": "1000000"}, "shares", "from 1 to 100000"),
        ({"priority": "-5000"}, "priority", "from -1000 to 1000"),
        ({"limit": "nan"}, "limit", "finite"),
        ({"limit": "1", "reservation": "2"}, "limit", "not below what is reserved"),
        ({"movability": "sideways"}, "movability", "one of never"),
        ({"mode": "wild"}, "mode", "one of off"),
        ({"days": (7,)}, "days", "Monday"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    plant: Plant, shop: list[Machine], change: dict[str, Any], field: str, words: str
) -> None:
    lines.save_line(plant.operator, Draft("day", pools=("cad",), shares="5"))
    given = {"name": "night", "pools": ("cae",), "shares": "9"} | change
    with pytest.raises(ValidationError) as told:
        lines.save_line(plant.operator, Draft(**given))
    assert words in " ".join(told.value.message_dict[field])
    assert _names() == ["day"]
    assert lines.check(Draft(**given)).errors[field]


def test_only_keepers_of_the_pool_write_it(plant: Plant, shop: list[Machine]) -> None:
    lines.save_line(plant.operator, NIGHT)
    for person in (plant.engineer, plant.approver, plant.stranger):
        for change in (
            lambda who=person: lines.save_line(who, NIGHT, "night"),
            lambda who=person: lines.move_line(who, "night", 1),
            lambda who=person: lines.remove_line(who, "night"),
            lambda who=person: lines.put_back(who),
        ):
            with pytest.raises(PermissionRefused):
                change()


def test_lines_that_say_otherwise_at_the_same_time_are_named(
    plant: Plant, shop: list[Machine]
) -> None:
    lines.save_line(plant.operator, NIGHT)
    lines.save_line(plant.operator, Draft("free", pools=("cae",), movability="free"))
    late = Draft("late", pools=("cae",), days=(2,), start="20:00", end="23:00", shares="5")
    ((other, text),) = lines.check(late).overlaps
    assert other == "night"
    assert "shares" in text
    assert "Wed" in text
    assert "late holds" in text
    # Not at the same time, not the same number, not the same thing, not the same machines.
    for change in (
        {"end": "22:00"},
        {"shares": "9000"},
        {"shares": "", "reservation": "2"},
        {"pools": ("cad",)},
    ):
        other_draft = Draft(
            **{"name": "late", "pools": ("cae",), "start": "20:00", "shares": "5"} | change
        )
        assert not lines.check(other_draft).overlaps, change
    # A line of a machine meets one of its pool; shares of a machine are not those of its pool.
    mine = Draft("mine", vms=(str(shop[1]),), movability="never", shares="1")
    ((other, text),) = lines.check(mine).overlaps
    assert other == "free"
    assert "what may move it" in text
    # Of lines that stand already the later one holds, whichever is being changed.
    lines.save_line(plant.operator, late)
    first = lines.draft_of(hours.kept()[0])
    assert "late holds" in lines.check(first, "night").overlaps[0][1]


def test_what_would_be_in_vain_is_told_and_taken(plant: Plant, shop: list[Machine]) -> None:
    def vain(**more: Any) -> str:
        return " ".join(lines.check(Draft("x", pools=("cae",), **{"shares": "5"} | more)).vain)

    assert vain() == ""
    assert "says nothing" in vain(shares="")
    assert "It holds no more" in vain(until="2020-01-01T00:00")
    assert "ends before it begins" in vain(since="2030-01-02T00:00", until="2030-01-01T00:00")
    # The 4th of January 2030 is a Friday.
    span = {"since": "2030-01-04T00:00", "until": "2030-01-05T00:00"}
    assert vain(**span, days=(4,)) == ""
    assert "none of its days" in vain(**span, days=(5,))
    lines.save_line(plant.operator, Draft("over", pools=("cae",), shares="1", until="2020-01-01"))
    assert _names() == ["over"]


def test_what_has_gone_since_does_not_keep_other_lines_from_being_changed(
    plant: Plant, shop: list[Machine], client: Client
) -> None:
    lines.save_line(plant.operator, Draft("old", pools=("cad",), shares="5"))
    lines.save_line(plant.operator, NIGHT)
    pooling.remove_pool(plant.operator, pooling.ResourcePool.objects.get(name="cad"))
    lines.save_line(plant.operator, Draft("night", pools=("cae",), shares="6"), "night")
    lines.move_line(plant.operator, "old", 1)
    lines.save_line(plant.operator, Draft("old", pools=("cad",), shares="7"), "old")
    assert "None of those" in " ".join(
        lines.check(Draft("old", pools=("cad",), shares="7"), "old").vain
    )
    client.force_login(plant.operator)
    assert "cad: no longer in the pool" in client.get(URL).content.decode()
    assert "no longer there" in client.get(f"{URL}line/?line=old").content.decode()
    lines.remove_line(plant.operator, "old")
    lines.put_back(plant.operator)
    assert set(_names()) == {"old", "night"}


def test_lines_from_before_a_rule_keep_no_other_line_from_being_changed(
    plant: Plant, shop: list[Machine], client: Client
) -> None:
    old: list[dict[str, Any]] = [
        {"name": "less", "pools": ["cad"], "reservation": 4, "limit": 2},
        {"name": "ever", "pools": ["cad"], "shares": 5, "until": "9999-12-31T00:00"},
        {"name": "end", "pools": ["cad"], "shares": 6, "until": "9999-12-31T23:59-05:00"},
        {"name": "start", "pools": ["cad"], "shares": 6, "since": "0001-01-01T00:00+14:00"},
        {"name": "late", "pools": ["cad"], "shares": 7, "since": "9999-12-31T23:00"},
        {"name": "over", "pools": ["cad"], "shares": 8, "until": "0001-01-01T00:00+05:00"},
    ]
    row = hours.locked()
    row.calendar = old
    row.save()
    client.force_login(plant.operator)
    told = {line.name: line for line in hours.told()}
    assert [name for name, line in told.items() if line.now] == ["less", "ever", "end", "start"]
    assert [told[name].when for name in ("ever", "end", "start")] == ["", "", ""]
    assert client.get(URL).status_code == 200
    for line in old:
        assert client.get(f"{URL}line/?line={line['name']}").status_code == 200
    assert lines.check(lines.draft_of(old[2]), "end").when.endswith("without an end.")
    assert "a year from 2000 to 2999" in " ".join(
        lines.check(lines.draft_of(old[4]), "late").errors["since"]
    )
    # Each way of writing leaves the old lines where they are.
    assert client.post(f"{URL}line/", FORM).status_code == 302
    assert client.post(f"{URL}line/?line=night", FORM | {"shares": "8"}).status_code == 302
    lines.move_line(plant.operator, "less", 1)
    lines.remove_line(plant.operator, "start")
    lines.put_back(plant.operator)
    assert _names() == ["ever", "less", "end", "start", "late", "over", "night"]
    # Whoever changes one of them goes by today's rules; an end that never comes is none.
    less = {"name": "less", "pool": ["cad"], "reservation": "4", "limit": "3", "verb": "save"}
    sent = client.post(f"{URL}line/?line=less", less)
    assert sent.status_code == 422
    assert "not below what is reserved" in sent.content.decode()
    ever = lines.draft_of(old[1])
    assert ever.until == ""
    lines.save_line(plant.operator, ever, "ever")
    assert hours.kept()[0] == {"name": "ever", "pools": ["cad"], "shares": 5}


def test_what_is_wrong_with_another_line_is_shown_too(
    plant: Plant, shop: list[Machine], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given: Any) -> None:
        raise ValidationError(
            {"calendar[3].limit": "2: not below it", "shares": "shares are wrong"}
        )

    monkeypatch.setattr(lines, "save_line", refuse)
    client.force_login(plant.operator)
    sent = client.post(f"{URL}line/", FORM)
    assert sent.status_code == 422
    assert "calendar[3].limit: 2: not below it" in sent.content.decode()
    assert "shares are wrong" in sent.content.decode()


def test_what_was_typed_for_a_line_that_is_gone_meanwhile_is_kept(
    plant: Plant, shop: list[Machine], client: Client
) -> None:
    lines.save_line(plant.operator, NIGHT)
    was = lines.mark(hours.kept())
    lines.save_line(plant.administrator, Draft("nights", pools=("cae",), shares="5"), "night")
    client.force_login(plant.operator)
    typed = FORM | {"was": was, "shares": "4711", "start": "21:15", "day": ["2"]}
    for verb in ("save", "find"):
        sent = client.post(f"{URL}line/?line=night", typed | {"verb": verb})
        page = sent.content.decode()
        assert sent.status_code == 422
        assert "meanwhile" in page
        assert "it becomes a new one" in page
        assert 'value="4711"' in page
        assert 'value="21:15"' in page
        assert 'value="cae" checked' in page
        assert f'action="{URL}line/"' in page
        assert _names() == ["nights"]
    # What the notice says.
    assert client.post(f"{URL}line/", typed).status_code == 302
    assert _names() == ["nights", "night"]
    assert hours.kept()[1]["shares"] == 4711
    assert client.get(f"{URL}line/?line=away").status_code == 404


def test_nobody_writes_over_what_somebody_else_changed_meanwhile(
    plant: Plant, shop: list[Machine], client: Client
) -> None:
    lines.save_line(plant.operator, NIGHT)
    old = lines.mark(hours.kept())
    lines.save_line(plant.administrator, Draft("night", pools=("cae",), shares="5"), "night")
    with pytest.raises(ValidationError, match="meanwhile"):
        lines.save_line(plant.operator, NIGHT, "night", was=old)
    for change in (lines.put_back, lambda who, was: lines.move_line(who, "night", 1, was)):
        with pytest.raises(ValidationError, match="meanwhile"):
            change(plant.operator, was=old)
    client.force_login(plant.operator)
    sent = client.post(f"{URL}line/?line=night", FORM | {"was": old})
    assert sent.status_code == 422
    assert "meanwhile" in sent.content.decode()
    assert hours.kept()[0]["shares"] == 5


def test_the_page_without_javascript(
    plant: Plant, shop: list[Machine], client: Client, django_assert_max_num_queries: Any
) -> None:
    client.force_login(plant.operator)
    empty = client.get(URL).content.decode()
    assert "Begin with the example" in empty
    assert 'value="9000"' in client.get(f"{URL}line/?example=night").content.decode()
    # The search is a button of the same form, and loses nothing that was ticked.
    found = client.post(f"{URL}line/", FORM | {"verb": "find", "find": "two"}).content.decode()
    assert "two/vplc" in found
    assert 'value="cae" checked' in found
    assert client.post(f"{URL}line/", FORM | {"shares": "x"}).status_code == 422
    sent = client.post(f"{URL}line/", FORM | {"start": "00:00", "reason": "agreed"}, follow=True)
    assert "the next round goes by it" in sent.content.decode()
    lines.save_line(
        plant.operator, Draft("later", pools=("cad",), since="2990-01-01T06:00", window=True)
    )
    weekdays = Draft(
        "weekdays", pools=("cad",), days=(0, 1, 2, 3, 5), movability="never", mode="off"
    )
    lines.save_line(plant.operator, weekdays)
    page = client.get(URL).content.decode()
    assert "Mon–Thu, Sat" in page
    assert "is not moved, balancing: off" in page
    lines.remove_line(plant.operator, "weekdays")
    with django_assert_max_num_queries(12):
        page = client.get(URL).content.decode()
    assert "Holds now" in page
    assert "from Fri 2990-01-01 06:00" in page
    assert "a planned window" in page
    mark = lines.mark(hours.kept())
    client.post(f"{URL}act/", {"verb": "up", "line": "later", "mark": mark})
    assert _names() == ["later", "night"]
    assert "agreed" not in client.get(URL).content.decode()
    shown = client.get(f"{URL}remove/?line=night").content.decode()
    assert "shares 9000" in shown
    client.post(f"{URL}remove/?line=night", {"reason": "no shift"})
    assert _names() == ["later"]
    assert "no shift" in client.get(URL).content.decode()
    client.post(f"{URL}act/", {"verb": "undo", "mark": lines.mark(hours.kept())})
    assert _names() == ["later", "night"]
    assert client.get(f"{URL}line/?line=nothing").status_code == 404
    verdict = client.post(f"{URL}check/", FORM | {"name": "", "until": "2020-01-01T00:00"})
    assert "It holds no more" in verdict.content.decode()
    assert "name at least" not in client.post(f"{URL}check/", {"name": ""}).content.decode()


def test_what_holds_now_and_next_is_in_the_plants_zone(
    plant: Plant, shop: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    from millwright.settings import get_settings

    monkeypatch.setenv("MILLWRIGHT_TIME_ZONE", "Asia/Shanghai")
    get_settings.cache_clear()
    try:
        lines.save_line(plant.operator, NIGHT)
        noon = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
        (line,) = hours.told(noon)
        assert not line.now
        assert line.changes is not None
        assert line.changes.isoformat() == "2026-05-04T22:00:00+08:00"
        (line,) = hours.told(noon + dt.timedelta(hours=3))
        assert line.now
        assert line.changes is not None
        assert line.changes.isoformat() == "2026-05-05T06:00:00+08:00"
        # What came with a zone is shown in the plant's.
        given = {"name": "x", "since": "2026-05-04T12:00:00+00:00"}
        assert lines.draft_of(given).since == "2026-05-04T20:00"
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
