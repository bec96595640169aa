"""Pages of those who keep the pool: what is refused keeps what was typed and says so at its field, in words."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.http import HttpResponse
from django.utils import timezone, translation
from django.utils.formats import date_format
from millwright.balancing import ruling
from millwright.balancing.models import HostDrain, HostRecovery
from millwright.environments import actions
from millwright.environments.models import Machine, Operation
from millwright.inventory.models import Host
from millwright.portal.templatetags.mw import few
from millwright.shopfloor.models import Device

from tests.support.plant import Plant, signed_in


@pytest.fixture
def machine(plant: Plant) -> Machine:
    made = actions.create_request(plant.engineer, **plant.request_fields("press"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Operation.objects.update(state="succeeded")
    Machine.objects.update(host=plant.hosts[0], observed="running", observed_at=timezone.now())
    return Machine.objects.get()


def test_a_refused_entitlement_keeps_what_was_typed_with_each_reason_at_its_field(
    plant: Plant, machine: Machine
) -> None:
    caller, url = signed_in(plant.operator), f"/machines/{machine.pk}/place/"
    form = {
        "shares": "many",
        "cpu_reservation": "0,5",
        "cpu_limit": "",
        "memory_minimum_mib": "a lot",
        "priority": "7",
        "balance_mode": "shadow",
        "reason": "rush order",
    }
    answer = caller.post(url, form)
    assert answer.status_code == 422
    page = answer.content.decode()
    for name in ("cpu_reservation", "priority", "reason", "shares", "memory_minimum_mib"):
        assert re.search(rf'id="{name}"[^>]* value="{form[name]}"', page), name
    assert 'value="shadow" selected' in page
    for name, text in (("shares", "many"), ("memory_minimum_mib", "a lot")):
        assert re.search(rf'id="{name}-wrong"><div>&#x27;{text}&#x27; is no number', page), name
    # A rule of the action stands at its field, too.
    wrong = form | {"shares": "500", "memory_minimum_mib": "", "cpu_limit": "99"}
    page = caller.post(url, wrong).content.decode()
    assert re.search(r'id="cpu_limit-wrong"><div>99[.0]*: from', page)
    page = caller.post(url, wrong | {"cpu_limit": "1", "after": "nobody/vplc"}).content.decode()
    assert re.search(r'id="after-wrong"><div>no machine is named', page)
    machine.refresh_from_db()
    assert (machine.priority, machine.balance_mode) == (0, "")
    assert caller.post(url, wrong | {"cpu_limit": "1"}).status_code == 302
    machine.refresh_from_db()
    assert (machine.priority, machine.balance_mode, machine.shares) == (7, "shadow", 500)


def test_why_here_says_it_in_words_and_page_by_page(plant: Plant, machine: Machine) -> None:
    for number in range(60):
        Host.objects.create(name=f"more-h{number:02}", uri=f"fake://more-h{number}", health="down")
    caller, url = signed_in(plant.operator), f"/machines/{machine.pk}/place/"
    page = caller.get(url).content.decode()
    for code in ("host_state", "even_cpu", "even_memory", "soft_rules"):
        assert code not in page, code
    assert "cannot take it" in page
    assert "more-h00 takes nothing new: it is down" in page
    assert "1 to 25 of 62" in page
    seen = [
        set(re.findall(r"more-h\d\d", caller.get(url, {"page": number}).content.decode()))
        for number in (1, 2, 3)
    ]
    assert len(set.union(*seen)) == sum(map(len, seen)) == 60


def test_a_refused_recovery_keeps_what_was_typed_and_the_sum_is_told_before(
    plant: Plant, machine: Machine
) -> None:
    host = plant.hosts[0]
    Host.objects.filter(pk=host.pk).update(health="down", policy=host.policy | {"shared_cpus": "0"})
    Host.objects.filter(pk=plant.hosts[1].pk).update(
        topology={"cpus": [{"id": 0}, {"id": 1}]}, policy=plant.hosts[0].policy
    )
    Machine.objects.update(observed="unknown", recovery="recoverable")
    Machine.objects.update(retained_as_of=timezone.now())
    caller, url = signed_in(plant.operator), f"/pool/{host.name}/recover/"
    page = caller.get(url).content.decode()
    # What comes of it and what is asked stand before the list.
    assert page.index("What would come of it") < page.index("Start its machines elsewhere")
    assert page.index("Start its machines elsewhere") < page.index("What starts where")
    assert "1 machine starts elsewhere" in page
    assert "1 controller begins with initial values" not in page
    assert "In the list below a controller may be told" in page
    form = {"how": "fence", "gone": "on", "reason": "power supply burnt"}
    answer = caller.post(url, form | {"initial_values": "press/vplc"})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert 'value="power supply burnt"' in page
    assert re.search(r'name="gone" checked', page)
    assert re.search(r'value="press/vplc" form="recover" checked', page)
    assert "has no fence agent in its policy" in page
    assert "fence: " not in page
    assert not HostRecovery.objects.exists()
    Machine.objects.update(retained_as_of=None)
    assert "1 controller begins with initial values" in caller.get(url).content.decode()
    assert caller.post(url, {"how": "person"}).status_code == 302


def test_a_refused_drain_keeps_what_was_typed(plant: Plant, machine: Machine) -> None:
    Machine.objects.update(movability="never")
    caller, url = signed_in(plant.operator), f"/pool/{plant.hosts[0].name}/drain/"
    answer = caller.post(url, {"reason": "fan"})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "It cannot be drained now" in page
    assert "/environments/press/" in page
    assert "host: " not in page
    assert not HostDrain.objects.exists()


@pytest.mark.parametrize(
    ("why", "shown"),
    [
        ("press/vplc never moves: its policy forbids it", "press/vplc never moves"),
        ("connection refused", "press/vplc: connection refused"),
    ],
)
def test_what_stands_in_the_way_names_its_machine_once(
    plant: Plant, machine: Machine, why: str, shown: str
) -> None:
    rows = [{"machine": "press/vplc", "why": why}]
    HostDrain.objects.create(host=plant.hosts[0], blockers=rows)
    HostRecovery.objects.create(host=plant.hosts[1], confirmed_by="person", blockers=rows)
    caller = signed_in(plant.operator)
    for path in (f"/pool/{plant.hosts[0].name}/", f"/pool/{plant.hosts[1].name}/recover/"):
        assert f"<li>{shown}" in caller.get(path).content.decode(), path


def test_hosts_of_a_large_pool_are_found_and_their_cpus_stand_folded(plant: Plant) -> None:
    many = {"cpus": [{"id": number} for number in range(32)]}
    for number in range(30):
        Host.objects.create(
            name=f"rack-{number:02}",
            uri=f"fake://rack-{number}",
            topology=many,
            policy={"housekeeping_cpus": "0", "realtime_cpus": "8-31", "shared_cpus": "1-7"},
            health="down" if number == 7 else "up",
            administration="cordoned" if number == 9 else "schedulable",
        )
    caller = signed_in(plant.operator)

    def named(**query: str) -> list[str]:
        page = caller.get("/pool/", query).content.decode()
        return re.findall(r'<h2 class="card-title" id="h-\d+"><a href="/pool/([^/]+)/', page)

    assert len(named()) == 24
    assert named(page="2") == [f"rack-{number}" for number in range(22, 30)]
    assert named(q="ck-2") == [f"rack-{number}" for number in range(20, 30)]
    assert named(state="attention") == ["rack-07"]
    assert named(state="closed") == ["rack-09"]
    page = caller.get("/pool/", {"q": "nowhere"}).content.decode()
    assert "No host is like that" in page
    page = caller.get("/pool/").content.decode()
    # What has few CPUs shows them at once.
    assert page.count('<details class="mt-3" open>') == 2
    assert page.count('<details class="mt-3">') == 22
    assert "32 in all, 0 of 24 for realtime taken" in page


def test_a_pool_without_hosts_leads_to_the_first_one(plant: Plant) -> None:
    Host.objects.all().delete()
    page = signed_in(plant.operator).get("/pool/").content.decode()
    assert re.search(r'empty-action"><a class="btn btn-primary" href="/pool/new/"', page)


def test_what_cannot_be_counted_is_said_at_its_field(plant: Plant) -> None:
    asked = {"kind": "vplc/small", "growth": "many", "spare": "1"}
    page = signed_in(plant.operator).get("/capacity/", asked).content.decode()
    assert re.search(r'id="growth-wrong">&#x27;many&#x27; is no number', page)
    assert 'value="many"' in page
    for spare in ("x", "9", "\u00b2"):
        answer = signed_in(plant.operator).get("/capacity/", asked | {"growth": "", "spare": spare})
        assert answer.status_code == 200
        assert 'role="alert"' in answer.content.decode()
    page = signed_in(plant.operator).get("/capacity/", asked | {"growth": "2"}).content.decode()
    assert "What runs out first" in page


def test_a_date_in_english_is_the_same_for_everybody() -> None:
    at = dt.datetime(2026, 5, 8, 15, 4, tzinfo=dt.UTC)
    with translation.override("en"), timezone.override(dt.UTC):
        assert date_format(timezone.localtime(at), "SHORT_DATETIME_FORMAT") == "2026-05-08 15:04"
        assert date_format(timezone.localtime(at), "DATETIME_FORMAT") == "8 May 2026, 15:04"


def test_a_rolling_drain_of_many_hosts_keeps_what_is_ticked_while_one_searches(
    plant: Plant,
) -> None:
    for number in range(70):
        Host.objects.create(name=f"rack-{number:02}", uri=f"fake://rack-{number}", health="up")
    caller, url = signed_in(plant.operator), "/rolling-drains/new/"

    def offered(answer: HttpResponse) -> list[tuple[str, bool]]:
        found = re.findall(r'name="host" value="([^"]+)"( checked)?', answer.content.decode())
        return [(name, bool(ticked)) for name, ticked in found]

    first = caller.get(url)
    assert len(offered(first)) == 50
    assert "There are more" in first.content.decode()
    ticked = {"host": ["rack-63", "mw0-h2"], "order-mw0-h2": "1", "order-rack-63": "2"}
    form = ticked | {"ends": "time", "minutes": "soon", "verb": "find", "find": "ck-3"}
    answer = caller.post(url, form)
    assert offered(answer)[:3] == [("mw0-h2", True), ("rack-63", True), ("rack-30", False)]
    assert len(offered(answer)) == 12
    answer = caller.post(url, form | {"verb": "preview"})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert re.search(r'id="minutes-wrong">&#x27;soon&#x27; is not a number', page)
    assert 'value="soon"' in page
    assert offered(answer)[:2] == [("mw0-h2", True), ("rack-63", True)]
    answer = caller.post(url, {"verb": "preview"})
    assert answer.status_code == 422
    assert "Tick the hosts" in answer.content.decode()


def test_rules_that_are_not_kept_now_are_found(plant: Plant, machine: Machine) -> None:
    second = actions.create_request(plant.engineer, **plant.request_fields("mixer"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, second))
    Machine.objects.update(host=plant.hosts[0], observed="running")
    both = ("press/vplc", "mixer/vplc")
    for draft in (
        ruling.Draft("torn", "apart", both, hard=False, weight=1.0),
        ruling.Draft("kept", "on_hosts", both, (plant.hosts[0].name,), hard=False, weight=1.0),
    ):
        ruling.save_rule(plant.operator, draft)
    page = signed_in(plant.operator).get("/rules/", {"force": "broken"}).content.decode()
    assert "/rules/torn/edit/" in page
    assert "/rules/kept/edit/" not in page


def test_a_line_for_many_machines_names_a_few(plant: Plant) -> None:
    names = ", ".join(f"press-{number}" for number in range(20))
    assert few(names) == "press-0, press-1, press-2, press-3, press-4, press-5 and 14 more"
    assert few("press-1, press-2") == "press-1, press-2"
    assert few("") == ""


@pytest.mark.parametrize("path", ["/devices/", "/requests/"])
def test_long_lists_have_a_search(plant: Plant, path: str) -> None:
    plant.project.quota_environments = 99
    plant.project.save()
    for number in range(55):
        Device.objects.create(
            name=f"drive-{number:02}",
            project=plant.project,
            cell=plant.cell,
            address=f"10.90.1.{20 + number}",
            port=502,
        )
        actions.create_request(plant.engineer, **plant.request_fields(f"drive-{number:02}"))
    caller = signed_in(plant.engineer)

    def found(**query: str) -> set[str]:
        page = caller.get(path, query).content.decode()
        assert 'type="search" id="q"' in page
        return set(re.findall(r"drive-\d\d", page))

    assert len(found()) == 50
    assert found(q="ve-5") == {f"drive-{number}" for number in range(50, 55)}
    assert found(q="ve-5", state="draft") == found(q="ve-5")
    assert found(q="drive-77") <= {"drive-77"}
    # What is searched goes along to the next page.
    assert "q=drive&amp;page=2" in caller.get(path, {"q": "drive"}).content.decode()
