"""The page of balancing with much on it: what waits is reached, a plan stands once, and its price does not grow."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from millwright.audit.models import AuditEntry
from millwright.balancing import recommending
from millwright.balancing.models import MovePlan, Recommendation
from millwright.environments import actions
from millwright.environments.models import Machine, Operation
from millwright.inventory.models import Host

from tests.support.plant import Plant, signed_in

URL = "/balancing/"


def _machine(plant: Plant, name: str) -> Machine:
    plant.project.quota_environments = plant.project.quota_vcpus = 500
    plant.project.quota_memory_bytes = plant.project.quota_disk_bytes = 2**44
    plant.project.save()
    made = actions.create_request(plant.engineer, **plant.request_fields(name))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Operation.objects.update(state="succeeded")
    Machine.objects.filter(environment__name=name).update(
        host=plant.hosts[0], observed="running", service_class="shared", realtime_cores=0
    )
    return Machine.objects.get(environment__name=name)


def _moves(plant: Plant, machine: Machine, count: int, **changes: Any) -> list[Recommendation]:
    fields = {
        "source": plant.hosts[0],
        "destination": plant.hosts[1],
        "why": "rule",
        "text": "kept apart from another machine on mw0-h1",
        "seconds": 42,
        "mode": "recommend",
        "state": "open",
    } | changes
    return [Recommendation.objects.create(machine=machine, **fields) for _each in range(count)]


def _shown(page: str) -> list[int]:
    return [int(found) for found in re.findall(r'id="move-(\d+)"', page)]


def test_every_move_that_waits_is_reached_and_comes_before_what_ended(plant: Plant) -> None:
    machine = _machine(plant, "press")
    open_ = _moves(plant, machine, 70)
    ended = _moves(plant, machine, 60, state="superseded")
    caller = signed_in(plant.operator)
    first = caller.get(URL).content.decode()
    assert _shown(first)[:20] == [row.pk for row in reversed(open_)][:20]
    found = []
    for number in (1, 2, 3, 4):
        page = caller.get(URL, {"page": number}).content.decode()
        found += [pk for pk in _shown(page) if pk not in {row.pk for row in ended}]
        assert page.count('value="approve"') == (20 if number < 4 else 10)
    assert found == [row.pk for row in reversed(open_)]
    found = []
    for number in (1, 2, 3):
        found += _shown(caller.get(f"{URL}earlier/", {"page": number}).content.decode())
    assert found == [row.pk for row in reversed(ended)]


def test_a_plan_stands_once_with_all_its_moves(plant: Plant) -> None:
    machines = [_machine(plant, name) for name in ("press", "mixer", "filler")]
    plan = MovePlan.objects.create(
        text="one by one they find no room",
        seconds=90,
        steps=[
            {"machine": str(each), "source": "mw0-h1", "target": "mw0-h2", "aside": False}
            for each in machines
        ],
    )
    rows = [_moves(plant, each, 1, plan=plan)[0] for each in machines]
    caller = signed_in(plant.operator)
    page = caller.get(URL).content.decode()
    assert _shown(page) == [rows[0].pk]
    assert page.count("one by one they find no room") == 1
    assert "3 moves that belong together" in page
    # One that was moved first does not put the plan among what has ended.
    MovePlan.objects.update(state="active")
    Recommendation.objects.filter(pk=rows[0].pk).update(state="moved")
    Recommendation.objects.exclude(pk=rows[0].pk).update(state="moving")
    page = caller.get(URL).content.decode()
    assert _shown(page) == [rows[0].pk]
    assert "Begin no further step" in page
    assert _shown(caller.get(f"{URL}earlier/").content.decode()) == []
    MovePlan.objects.update(state="given_up")
    Recommendation.objects.filter(pk=rows[2].pk).update(state="failed")
    Recommendation.objects.filter(pk=rows[1].pk).update(state="superseded")
    for query in ({}, {"state": "failed"}, {"q": "filler"}, {"q": "mw0-h2", "state": "moved"}):
        assert _shown(caller.get(f"{URL}earlier/", query).content.decode()) == [rows[0].pk], query
    for query in ({"state": "rejected"}, {"q": "conveyor"}):
        page = caller.get(f"{URL}earlier/", query).content.decode()
        assert _shown(page) == []
        assert "No move is like that" in page


def test_only_hosts_that_change_stand_before_and_after(plant: Plant) -> None:
    machine = _machine(plant, "press")
    for number in range(12):
        Host.objects.create(name=f"more-h{number}", uri=f"fake://more-h{number}", health="up")
    (row,) = _moves(plant, machine, 1)
    caller = signed_in(plant.operator)
    for url in (URL, f"{URL}?look={row.pk}"):
        page = caller.get(url).content.decode()
        assert "12 more hosts stay as they are" in page
        assert "more-h3" not in page
    # A move that is gone, or was never there, is no error.
    for number in ("0", "9" * 40, "x"):
        assert caller.get(URL, {"look": number}).status_code == 200


@pytest.mark.parametrize("path", [URL, f"{URL}earlier/"])
def test_the_page_asks_no_more_when_there_is_more(plant: Plant, path: str) -> None:
    caller = signed_in(plant.operator)
    recommending.set_mode(plant.operator, "recommend")

    def grow(first: int, count: int) -> None:
        for number in range(first, first + count):
            machine = _machine(plant, f"press-{number}")
            plan = MovePlan.objects.create(text="together", seconds=9, steps=[], state="done")
            _moves(plant, machine, 2)
            _moves(plant, machine, 2, state="moved", plan=plan, decided_by=plant.operator)
            Host.objects.create(name=f"more-h{number}", uri=f"fake://more-h{number}", health="up")

    def cost() -> list[str]:
        caller.get(path)
        with CaptureQueriesContext(connection) as captured:
            assert caller.get(path).status_code == 200
        return [query["sql"][:160] for query in captured]

    grow(0, 2)
    few = cost()
    grow(2, 6)
    many = cost()
    assert len(many) <= len(few), many


def test_the_list_of_earlier_moves_is_for_those_who_keep_the_pool(plant: Plant) -> None:
    url = reverse("portal:balancing_earlier")
    assert signed_in(plant.engineer).get(url).status_code == 403
    assert Client().get(url).status_code == 302
    assert "What rounds decided stands here" in signed_in(plant.operator).get(url).content.decode()


def test_moves_of_one_round_stand_as_it_decided_them_with_what_they_are_for(plant: Plant) -> None:
    """What the second says of its host holds once the first is made; memory is told where it is the reason."""
    machines = [_machine(plant, name) for name in ("one", "two")]
    rows = [_moves(plant, machine, 1, why="overcommit")[0] for machine in machines]
    ratios = [f"{of}{end}" for of in ("source_", "target_") for end in ("before", "after")]
    effect = {"net": 1.0} | {f"{what}{ratio}": 0.5 for what in ("", "memory_") for ratio in ratios}
    Recommendation.objects.update(created_at=rows[0].created_at, effect=effect)
    page = signed_in(plant.operator).get(URL).content.decode()
    assert page.index(f'id="move-{rows[0].pk}"') < page.index(f'id="move-{rows[1].pk}"')
    assert '<div class="text-secondary small">Memory</div>' in page
    Recommendation.objects.update(why="even")
    page = signed_in(plant.operator).get(URL).content.decode()
    assert '<div class="text-secondary small">Memory</div>' not in page


@pytest.mark.parametrize("url", ["/balancing/", "/rules/", "/pools/", "/capacity/", "/pool/"])
def test_the_menu_says_where_one_is(plant: Plant, url: str) -> None:
    page = signed_in(plant.operator).get(url).content.decode()
    assert '<a class="nav-link" href="/pool/" aria-current="page">' in page


@pytest.mark.parametrize(
    ("verb", "given", "marked"),
    [
        (
            "consolidation",
            {"mode": "shadow", "headroom_percent": "9999", "begin": "25:00", "end": "06:00"},
            {"sleep-headroom_percent"},
        ),
        ("consolidation", {"mode": "shadow", "begin": "06:00"}, {"sleep-end"}),
        ("consolidation", {"mode": "daring"}, {"sleep-mode"}),
        ("mode", {"mode": "recommend", "max_moves": "0"}, {"max_moves"}),
        ("mode", {"mode": "recommend", "spare_hosts": "99"}, {"spare"}),
    ],
)
def test_what_is_wrong_stands_at_its_field_and_nothing_is_set(
    plant: Plant, verb: str, given: dict[str, str], marked: set[str]
) -> None:
    client = signed_in(plant.operator)
    answer = client.post(reverse("portal:balancing"), {**given, "verb": verb})
    page = answer.content.decode()
    assert answer.status_code == 422 and "Nothing was set: see the marked fields." in page
    assert set(re.findall(r'id="([\w-]+)-wrong"', page)) == marked
    (field,) = marked
    (tag,) = re.findall(rf'<(?:input|select)[^>]* id="{field}"[^>]*>', page)
    assert "is-invalid" in tag and 'aria-invalid="true"' in tag and f"{field}-wrong" in tag
    assert "autofocus" in tag
    other = "sleep_wrong" if verb == "mode" else "wrong"
    assert answer.context[other] == {}
    assert not AuditEntry.objects.filter(action__startswith="balancer.").exists()
    # Undisturbed, nothing is marked.
    assert "-wrong" not in client.get(reverse("portal:balancing")).content.decode()
