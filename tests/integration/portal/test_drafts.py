"""Drafts of requests: changed on their page, by API and by command, until they are submitted."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse
from millwright.accounts.actions import issue_token
from millwright.accounts.models import Membership, Project, User
from millwright.audit.models import AuditEntry
from millwright.environments import actions
from millwright.environments.models import Machine, Request
from millwright.portal.forms import RequestForm
from millwright.shopfloor import actions as shopfloor
from millwright.shopfloor.models import Device
from rest_framework.test import APIClient

from tests.support.plant import Plant, signed_in


@pytest.fixture
def draft(plant: Plant) -> Request:
    return actions.create_request(plant.engineer, **plant.request_fields("mixer"))


def _form(plant: Plant, **changes: Any) -> dict[str, Any]:
    return plant.request_form(**{"name": "mixer", **changes})


def test_a_draft_is_changed_on_its_page_and_then_submitted(plant: Plant, draft: Request) -> None:
    erin = signed_in(plant.engineer)
    page = reverse("portal:request", args=[draft.pk])
    place = reverse("portal:request_edit", args=[draft.pk])
    assert place in erin.get(page).content.decode()
    assert 'value="mixer"' in erin.get(place).content.decode()
    wrong = erin.post(place, _form(plant, lease_days="3000"))
    assert wrong.status_code == 422
    assert "lease_days" in wrong.context["form"].errors
    kept = erin.post(place, _form(plant, name="blender", lease_days="7", save="draft"))
    assert kept["Location"] == page
    draft.refresh_from_db()
    assert (draft.name, draft.lease_days, draft.state) == ("blender", 7, "draft")
    erin.post(place, _form(plant, name="blender", lease_days="7", save="submit"))
    draft.refresh_from_db()
    assert draft.state == "submitted"
    assert erin.get(place)["Location"] == page, "what was submitted is not changed"
    assert place not in erin.get(page).content.decode()
    names = AuditEntry.objects.filter(action__startswith="request.").order_by("at")
    assert [row.action for row in names] == [
        "request.create", "request.update", "request.update", "request.submit",
    ]  # fmt: skip


def test_the_form_says_while_one_types_what_would_be_refused(plant: Plant, draft: Request) -> None:
    erin, place = signed_in(plant.engineer), reverse("portal:request_preview")
    fine = erin.get(place, _form(plant)).content.decode()
    assert "alert-warning" not in fine
    for changes, words in (
        ({"name": "Mixer 2"}, "use lower-case letters"),
        ({"lease_days": "3000"}, "the project allows 1 to"),
        ({"cell": ""}, "this template needs a cell"),
    ):
        assert words in erin.get(place, _form(plant, **changes)).content.decode(), changes
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, draft))
    assert "exists already" in erin.get(place, _form(plant)).content.decode()
    # Several alike get numbers after their name.
    assert "exists already" not in erin.get(place, _form(plant, copies="2")).content.decode()
    assert (
        "alert-warning" not in erin.get(place, _form(plant, draft=str(draft.pk))).content.decode()
    )
    assert erin.get(place, _form(plant, draft="none")).status_code == 200


def test_the_api_changes_what_is_given_and_keeps_the_rest(plant: Plant, draft: Request) -> None:
    def as_(user: Any) -> APIClient:
        made = APIClient()
        made.credentials(HTTP_AUTHORIZATION=f"Bearer {issue_token(None, user, 'test')[1]}")
        return made

    erin, place = as_(plant.engineer), f"/api/v1/requests/{draft.pk}/"
    before = erin.get(place)
    answer = erin.patch(
        place, {"lease_days": 7}, format="json", headers={"If-Match": before["ETag"]}
    )
    assert answer.status_code == 200, answer.data
    assert {name for name in before.data if before.data[name] != answer.data[name]} == {
        "lease_days"
    }
    late = erin.patch(place, {"lease_days": 8}, format="json", headers={"If-Match": before["ETag"]})
    assert late.status_code == 412
    unknown = erin.patch(place, {"cell": "nowhere"}, format="json")
    assert unknown.status_code == 400
    assert "nowhere" in str(unknown.json())
    alone = erin.patch(place, {"template_version": "1"}, format="json")
    assert "name the template" in str(alone.json())
    other = erin.patch(place, {"template": "press"}, format="json")
    assert "'press' is not in the catalogue" in str(other.json())
    assert erin.patch(place, {"cell": None}, format="json").status_code == 400, "it needs one"
    assert as_(plant.approver).patch(place, {"lease_days": 1}, format="json").status_code == 403
    assert as_(plant.stranger).patch(place, {"lease_days": 1}, format="json").status_code == 404
    actions.submit_request(plant.engineer, draft)
    assert "only a draft" in str(erin.patch(place, {"lease_days": 9}, format="json").json())
    draft.refresh_from_db()
    assert draft.lease_days == 7


def _device(plant: Plant, number: int) -> Device:
    return shopfloor.add_device(
        plant.engineer,
        name=f"station-{number}",
        project=plant.project,
        cell=plant.cell,
        address=f"10.90.1.{50 + number}",
        port=502,
    )


def test_a_request_names_its_devices_until_their_registers_are_mapped(plant: Plant) -> None:
    erin = signed_in(plant.engineer)
    assert "devices" not in erin.get(reverse("portal:request_new")).context["form"].fields
    one, two = _device(plant, 1), _device(plant, 2)
    offered = erin.get(reverse("portal:request_new")).content.decode()
    assert "station-1" in offered and "line1 · Modbus TCP 10.90.1.51:502" in offered
    place = reverse("portal:request_new")
    erin.post(place, _form(plant, devices=[str(one.pk), str(two.pk)], save="draft"))
    asked = Request.objects.get()
    assert sorted(asked.devices) == ["station-1", "station-2"]
    shown = signed_in(plant.approver).get(reverse("portal:request", args=[asked.pk]))
    assert "station-1, station-2" in shown.content.decode(), "who decides sees what it is for"
    again = erin.get(reverse("portal:request_edit", args=[asked.pk])).content.decode()
    assert (
        again.count('name="devices"')
        == again.count(' checked><span class="form-check-label">station-')
        == 2
    )
    elsewhere = _form(plant, devices=[str(one.pk)], cell="")
    assert (
        "no such device" in erin.get(reverse("portal:request_preview"), elsewhere).content.decode()
    )
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, asked))
    machine = Machine.objects.get()
    page = reverse("portal:environment", args=["mixer"])
    assert erin.get(page).content.decode().count("asked for, not mapped yet") == 2
    point = {"tag": "Main.level", "area": "input", "register": "0", "direction": "in"}
    shopfloor.set_mappings(plant.engineer, machine, one, [point])
    left = erin.get(page).content.decode()
    assert left.count("asked for, not mapped yet") == 1
    assert f"device={two.pk}" in left
    # One that is gone by then is nothing to map.
    shopfloor.remove_device(plant.engineer, two)
    assert "asked for, not mapped yet" not in erin.get(page).content.decode()


def test_a_device_that_is_gone_keeps_nobody_from_deciding(plant: Plant) -> None:
    one = _device(plant, 1)
    asked = actions.create_request(
        plant.engineer, **plant.request_fields("mixer", devices=["station-1"])
    )
    shopfloor.remove_device(plant.engineer, one)
    actions.update_request(plant.engineer, asked, lease_days=9)
    with pytest.raises(ValidationError, match="no such device"):
        actions.submit_request(plant.engineer, asked)
    two = _device(plant, 2)
    actions.update_request(plant.engineer, asked, devices=["station-2"])
    actions.submit_request(plant.engineer, asked)
    shopfloor.remove_device(plant.engineer, two)
    granted = actions.approve_request(plant.approver, asked, changes={"lease_days": 3})
    assert (granted.state, granted.lease_days) == ("approved", 3)


def test_a_draft_keeps_its_devices_and_takes_none_of_another_project(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    _device(plant, 1), _device(plant, 2)
    monkeypatch.setattr(RequestForm, "devices_shown", 1)
    asked = actions.create_request(
        plant.engineer, **plant.request_fields("mixer", devices=["station-2"])
    )
    page = signed_in(plant.engineer).get(reverse("portal:request_edit", args=[asked.pk]))
    assert ' checked><span class="form-check-label">station-2' in page.content.decode()
    other = Project.objects.create(slug="line-9", name="Line 9")
    Membership.objects.create(user=plant.engineer, project=other, role="engineer")
    there = shopfloor.add_device(
        plant.administrator, name="station-1", project=other, cell=plant.cell, address="10.90.1.60", port=502
    )  # fmt: skip
    form = RequestForm(
        User.objects.get(pk=plant.engineer.pk), _form(plant, devices=[str(there.pk)])
    )
    assert form.errors == {"devices": ["station-1: no such device of Line 1 in cell line1"]}


def test_any_device_of_a_large_line_is_found_and_keeps_its_tick(
    plant: Plant, django_assert_max_num_queries: Any
) -> None:
    one = _device(plant, 1)
    Device.objects.bulk_create(
        Device(
            name=f"drive-{number}", project=plant.project, cell=plant.cell, protocol="modbus",
            address=f"10.91.{number // 200}.{number % 200 + 1}", port=502,
        )
        for number in range(400)
    )  # fmt: skip
    erin = signed_in(plant.engineer)
    first = erin.get(reverse("portal:request_new")).content.decode()
    assert first.count('name="devices"') == RequestForm.devices_shown
    assert "There are more" in first
    place = reverse("portal:request_devices")
    with django_assert_max_num_queries(13):
        found = erin.get(
            place, _form(plant, devices=[str(one.pk)], find_device="drive-37 10.91")
        ).content.decode()
    assert found.count('name="devices"') == 1 + 11, "the ticked one, drive-37 and drive-370 to 379"
    assert f'value="{one.pk}" checked' in found
    # Without JavaScript the form comes back with what was typed, and tells nobody off.
    typed = _form(plant, name="", devices=[str(one.pk)], find_device="drive-399", save="find")
    again = erin.post(reverse("portal:request_new"), typed)
    text = again.content.decode()
    assert again.status_code == 200 and "invalid" not in text
    assert text.count('name="devices"') == 2 and f'value="{one.pk}" checked' in text
    assert not Request.objects.exists()


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (["nobody"], "nobody: no such device of Line 1 in cell line1"),
        ([f"d{number}" for number in range(65)], "65 devices; at most 64"),
        ("station-1", "a list of names is expected"),
        ([7], "a list of names is expected"),
    ],
)
def test_devices_that_are_none_are_refused_by_name(plant: Plant, devices: Any, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        actions.create_request(plant.engineer, **plant.request_fields("mixer", devices=devices))
    assert refused.value.message_dict == {"devices": [words]}
