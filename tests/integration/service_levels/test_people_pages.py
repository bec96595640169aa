"""Ledger, maintenance and contracts by page, endpoint and command."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from millwright.audit.models import AuditEntry
from millwright.environments.models import Machine
from millwright.service_levels import ledger
from millwright.service_levels.contracts import contract_of, sync_objectives
from millwright.service_levels.models import Contract, Interval, MaintenanceWindow, Note

from tests.support.history import machine_of, put_in_service, second, write
from tests.support.plant import Plant


@pytest.fixture
def machine(plant: Plant) -> Machine:
    """Down from second 1000 to 4000 and from 5000 to 6000, nobody knows why."""
    sync_objectives()
    found = machine_of(plant)
    put_in_service(found)
    for begin, end in ((1000, 4000), (5000, 6000)):
        write(found, begin, "stopped")
        write(found, end, "running")
    ledger.read_history(second(7200))
    return found


def client_of(user: Any) -> Client:
    made = Client()
    made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return made


def current() -> list[Interval]:
    return list(Interval.objects.current().order_by("begin"))


def test_the_queue_empties_by_one_click_each(plant: Plant, machine: Machine) -> None:
    caller = client_of(plant.operator)
    page = caller.get(reverse("portal:ledger"))
    assert len(page.context["object_list"]) == 2
    first = current()[0]
    answer = caller.post(
        reverse("portal:ledger_act", args=[first.pk]),
        {"verb": "cause:unplanned", "query": "cause=unknown"},
        follow=True,
    )
    assert [row.begin for row in answer.context["object_list"]] == [second(5000)]
    assert current()[0].cause == "unplanned"
    # Taking it out of the budget is an approver's to say, with a reason.
    second_row = current()[1]
    url = reverse("portal:ledger_act", args=[second_row.pk])
    assert caller.post(url, {"verb": "cause:planned"}).status_code == 403
    told = client_of(plant.approver).post(url, {"verb": "classify", "cause": "excluded"})
    assert told.status_code == 403 or current()[1].cause == "unknown"
    caller = client_of(plant.administrator)
    text = caller.post(url, {"verb": "classify", "cause": "excluded"}, follow=True)
    assert "say why" in text.content.decode()
    caller.post(url, {"verb": "classify", "cause": "excluded", "reason": "flood"})
    assert current()[1].cause == "excluded"
    page = client_of(plant.operator).get(reverse("portal:ledger"))
    assert "Everything has a cause" in page.content.decode()
    assert client_of(plant.stranger).get(url.replace("act/", "")).status_code == 404


def test_a_row_is_split_commented_and_merged_again(plant: Plant, machine: Machine) -> None:
    caller = client_of(plant.operator)
    first = current()[0]
    act = reverse("portal:ledger_act", args=[first.pk])
    at = timezone.localtime(second(2000)).strftime("%Y-%m-%dT%H:%M:%S")
    page = caller.post(act, {"verb": "split", "at": at, "reason": "two"}, follow=True)
    assert [(row.begin, row.end) for row in current()][:2] == [
        (second(1000), second(2000)),
        (second(2000), second(4000)),
    ]
    assert "two" in page.content.decode()
    # The old row says that it was replaced, and leads to what holds.
    old = caller.get(reverse("portal:ledger_row", args=[first.pk])).content.decode()
    assert "This row was replaced." in old
    odd = caller.post(
        reverse("portal:ledger_act", args=[current()[0].pk]),
        {"verb": "split", "at": "soon"},
        follow=True,
    )
    assert "must lie between" in odd.content.decode()
    keys = [row.pk for row in current()[:2]]
    caller.post(
        reverse("portal:ledger_act", args=[keys[0]]), {"verb": "comment", "text": "the fuse"}
    )
    caller.post(reverse("portal:ledger_act", args=[keys[0]]), {"verb": "acknowledge"})
    merged = caller.post(
        reverse("portal:ledger_merge"), {"row": keys, "reason": "one"}, follow=True
    )
    assert [(row.begin, row.end) for row in current()] == [
        (second(1000), second(4000)),
        (second(5000), second(6000)),
    ]
    assert "the fuse" in merged.content.decode()
    assert Note.objects.filter(kind="acknowledge").count() == 1
    refused = caller.post(reverse("portal:ledger_merge"), {"row": [current()[0].pk]}, follow=True)
    assert "choose at least two rows" in refused.content.decode()


def test_a_window_is_asked_for_and_decided_on_its_page(plant: Plant, machine: Machine) -> None:
    engineer = client_of(plant.engineer)
    name = machine.environment.name
    form = reverse("portal:window_new")
    assert "24 hours" in engineer.get(form, {"environment": name}).content.decode()
    fields = {"environment": name, "begins_at": "2026-06-10T12:00", "ends_at": "2026-06-10T13:00"}
    wrong = engineer.post(form, {**fields, "reason": " "})
    assert wrong.status_code == 422
    assert "reason:" in wrong.content.decode()
    assert engineer.post(form, {**fields, "ends_at": "later"}).status_code == 422
    assert engineer.post(form, {**fields, "reason": "filters"}).status_code == 302
    row = MaintenanceWindow.objects.get()
    assert (row.retroactive, row.state) == (True, "requested")
    act = reverse("portal:window_act", args=[row.pk])
    assert engineer.post(act, {"verb": "approve"}).status_code == 403
    approver = client_of(plant.approver)
    assert (
        "say why it may be" in approver.post(act, {"verb": "approve"}, follow=True).content.decode()
    )
    page = approver.post(act, {"verb": "approve", "reason": "agreed by phone"}, follow=True)
    row.refresh_from_db()
    assert row.state == "closed"
    assert "agreed by phone" in page.content.decode()
    month = engineer.get(
        reverse("portal:environment_service_level", args=[name]), {"month": "2026-06"}
    )
    assert "agreed by phone" in month.content.decode()
    assert client_of(plant.stranger).post(act, {"verb": "withdraw"}).status_code == 404


def test_a_contract_is_previewed_and_then_written(
    plant: Plant, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: dt.datetime(2026, 7, 2, tzinfo=dt.UTC))
    url = f"{reverse('portal:contract_edit')}?environment={machine.environment.name}"
    assert client_of(plant.engineer).get(url).status_code == 403
    caller = client_of(plant.administrator)
    given = dict(caller.get(url).context["given"])
    assert given["availability"] == "99.9"
    given |= {"availability": "50,5 %", "shifts": "wed 12:00-13:00", "holidays": "12-25"}
    page = caller.post(url, {**given, "preview": "1"})
    june = page.context["months"][0]
    assert (june.month, june.would_keep) == (dt.date(2026, 6, 1), 1)
    assert june.would == pytest.approx(1 - 2600 / (3 * 3600))
    assert Contract.objects.filter(environment=machine.environment).count() == 0
    assert caller.post(url, given).status_code == 302
    row = contract_of(machine.environment)
    assert row.availability_ratio == pytest.approx(0.505)
    assert row.hours == {
        "shifts": [{"days": ["wed"], "from": "12:00", "to": "13:00"}],
        "holidays": ["12-25"],
    }
    assert AuditEntry.objects.filter(action="contract.write", actor=plant.administrator).exists()
    for field, value, named in (
        ("availability", "all", "Availability in percent: all: "),
        ("availability", "100", "Availability in percent: 1.0: "),
        ("shifts", "always", "Service hours: "),
        ("shifts", "xyz 06:00-22:00", "Service hours: "),
        ("small_stop_s", "-1", "A small stop lasts at most, in seconds: -1: "),
        ("cycle_streak", "-1", "Late scans one after another, at most: -1: "),
        ("device_links", "1", "Links to devices in percent of the minutes: 0.01: "),
        ("core_waits", "high", "Control cores hardly wait in percent of the minutes: high: "),
        ("provisioning_s", "-5", "Provisioned within, in seconds: -5: "),
        ("time_zone", "Mars/Base", "Service hours: "),
    ):
        wrong = caller.post(url, {**given, field: value})
        assert wrong.status_code == 422, field
        assert named in wrong.content.decode(), field
    shifts = caller.post(url, {**given, "shifts": "mon-fri 22:00-06:00"})
    assert shifts.status_code == 302
    assert contract_of(machine.environment).hours["shifts"][0]["days"] == [
        "mon", "tue", "wed", "thu", "fri",
    ]  # fmt: skip
    listed = client_of(plant.engineer).get(reverse("portal:contracts")).content.decode()
    assert machine.environment.name in listed
    assert (
        machine.environment.name
        not in client_of(plant.stranger).get(reverse("portal:contracts")).content.decode()
    )


def test_what_is_promised_of_the_portal_is_changed_on_the_page(
    plant: Plant, machine: Machine
) -> None:
    url = f"{reverse('portal:contract_edit')}?class=plant"
    assert client_of(plant.engineer).get(url).status_code == 403
    caller = client_of(plant.administrator)
    page = caller.get(url)
    assert page.context["given"]["availability"] == "99.5"
    assert 'name="cycles"' not in page.content.decode()
    given = {"availability": "98", "note": "one server"}
    assert caller.post(url, {**given, "preview": "1"}).context["months"][0].would is None
    assert caller.post(url, given).status_code == 302
    assert Contract.objects.filter(service_class="plant").last().availability_ratio == 0.98
    assert "98.000 %" in caller.get(reverse("portal:contracts")).content.decode()


def test_the_api_corrects_asks_and_promises(plant: Plant, machine: Machine) -> None:
    caller = client_of(plant.operator)
    rows = caller.get(reverse("api:interval-list"), {"cause": "unknown"}).json()["results"]
    assert [row["begin"][:19] for row in rows] == ["2026-06-10T13:23:20", "2026-06-10T12:16:40"]

    def post(name: str, body: dict[str, Any], *args: Any, who: Client = caller) -> Any:
        return who.post(reverse(f"api:{name}", args=args), body, content_type="application/json")

    (made,) = post("interval-classify", {"cause": "unplanned"}, rows[0]["id"]).json()
    assert (made["cause"], made["written_by"]) == ("unplanned", "oda")
    stale = post("interval-classify", {"cause": "unplanned"}, rows[0]["id"])
    assert stale.status_code == 400
    halves = post("interval-split", {"at": "2026-06-10T12:30:00Z"}, rows[1]["id"]).json()
    (whole,) = post("interval-merge", {"intervals": [row["id"] for row in halves]}).json()
    assert (whole["begin"], whole["end"]) == (rows[1]["begin"], rows[1]["end"])
    assert post("interval-merge", {"intervals": [1, 2**61]}).status_code == 400
    post("interval-comment", {"text": "fuse"}, whole["id"])
    notes = caller.get(reverse("api:interval-notes", args=[whole["id"]])).json()
    assert [note["text"] for note in notes] == ["fuse"]
    window = {
        "environment": machine.environment.name,
        "begins_at": "2026-06-10T12:00:00Z",
        "ends_at": "2026-06-10T13:00:00Z",
        "reason": "filters",
    }
    asked = post("maintenance-window-list", window)
    assert asked.status_code == 201
    approver = client_of(plant.approver)
    decided = post("maintenance-window-approve", {"reason": "ok"}, asked.json()["id"], who=approver)
    assert decided.json()["state"] == "closed"
    stranger = client_of(plant.stranger)
    assert post("maintenance-window-list", window, who=stranger).status_code == 400
    administrator = client_of(plant.administrator)
    promise = {"environment": machine.environment.name, "availability_ratio": 0.95}
    months = post("contract-preview", promise, who=administrator).json()
    assert len(months) == 3
    assert post("contract-list", promise, who=caller).status_code == 403
    made = post("contract-list", {**promise, "note": "agreed"}, who=administrator)
    assert (made.status_code, made.json()["note"]) == (201, "agreed")
    for odd in (5, [5], {"days": 5}, "x"):
        hours = post("contract-preview", {**promise, "hours": {"shifts": odd}}, who=administrator)
        assert hours.status_code == 400, odd
    for odd in ({"holidays": 5}, {"time_zone": ["x"]}, {"shifts": [{"days": [["mon"]]}]}):
        hours = post("contract-preview", {**promise, "hours": odd}, who=administrator)
        assert hours.status_code == 400, odd
