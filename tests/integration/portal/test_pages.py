"""Every page, for every kind of person: who sees it, who is sent away, what a stranger cannot find."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from millwright.accounts.actions import make_login_link
from millwright.environments import actions
from millwright.environments.models import Environment, Operation
from millwright.shopfloor import actions as shopfloor

from tests.support.plant import Plant

SOURCE = "PROGRAM Main\nVAR x : INT; END_VAR\nx := x + 1;\nEND_PROGRAM\n"


@pytest.fixture
def world(plant: Plant) -> dict[str, Any]:
    """A plant where something was requested, approved, uploaded and registered."""
    request = actions.submit_request(
        plant.engineer, actions.create_request(plant.engineer, **plant.request_fields())
    )
    draft = actions.create_request(plant.engineer, **plant.request_fields("second-line"))
    actions.approve_request(plant.approver, request)
    version = shopfloor.upload_program(
        plant.engineer, plant.project, "filling", {"src/main.st": SOURCE}
    )
    device = shopfloor.add_device(
        plant.engineer,
        name="station",
        project=plant.project,
        cell=plant.cell,
        address="10.90.1.50",
        port=502,
    )
    return {
        "plant": plant,
        "request": request,
        "draft": draft,
        "version": version,
        "device": device,
        "environment": Environment.objects.get(),
        "operation": Operation.objects.filter(kind="provision").get(),
    }


def client(user: Any) -> Client:
    made = Client()
    if user is not None:
        made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return made


def _pages(world: dict[str, Any]) -> dict[str, tuple[str, dict[str, int]]]:
    """Page → address, and the answer to: engineer, operator, stranger (anonymous is always sent to sign in)."""
    everyone = {"engineer": 200, "operator": 200, "stranger": 200}
    own = {"engineer": 200, "operator": 200, "stranger": 404}
    plant_wide = {"engineer": 403, "operator": 200, "stranger": 403}
    machine = world["environment"].machines.get()
    return {
        "home": (reverse("portal:home"), everyone),
        "catalogue": (reverse("portal:catalogue"), everyone),
        "requests": (reverse("portal:requests"), everyone),
        "request_new": (reverse("portal:request_new"), everyone),
        "preview": (reverse("portal:request_preview"), everyone),
        "request": (reverse("portal:request", args=[world["request"].pk]), own),
        "environments": (reverse("portal:environments"), everyone),
        "environment": (reverse("portal:environment", args=["filling-line-1"]), own),
        "tags": (reverse("portal:environment_tags", args=["filling-line-1"]), own),
        "performance": (reverse("portal:environment_performance", args=["filling-line-1"]), own),
        "mappings": (
            reverse("portal:mappings", args=["filling-line-1"]) + f"?machine={machine.pk}",
            own,
        ),
        "programs": (reverse("portal:programs"), everyone),
        "upload": (reverse("portal:program_upload"), everyone),
        "program": (reverse("portal:program", args=[world["version"].program.pk]), own),
        "version": (reverse("portal:program_version", args=[world["version"].pk]), own),
        "devices": (reverse("portal:devices"), everyone),
        "device_new": (reverse("portal:device_new"), everyone),
        "device_read": (reverse("portal:device_read"), everyone),
        "pool": (reverse("portal:pool"), everyone),
        "host": (reverse("portal:host", args=["mw0-h1"]), plant_wide),
        "operations": (reverse("portal:operations"), everyone),
        "operation": (reverse("portal:operation", args=[world["operation"].pk]), own),
        "audit": (reverse("portal:audit"), everyone),
    }


def test_every_page_for_every_person(world: dict[str, Any]) -> None:
    plant: Plant = world["plant"]
    for name, (url, expected) in _pages(world).items():
        answer = client(None).get(url)
        assert (answer.status_code, answer["Location"].split("?")[0]) == (
            302,
            "/accounts/login/",
        ), name
        for who, code in expected.items():
            assert client(getattr(plant, who)).get(url).status_code == code, (name, who)


def test_a_stranger_sees_no_name_of_another_project(world: dict[str, Any]) -> None:
    stranger = client(world["plant"].stranger)
    for name in ("home", "requests", "environments", "programs", "devices", "operations", "audit"):
        text = stranger.get(reverse(f"portal:{name}")).content.decode()
        assert "filling" not in text, name


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "remove"])
def test_verbs_of_another_project_are_not_found(world: dict[str, Any], verb: str) -> None:
    url = reverse("portal:environment_act", args=["filling-line-1"])
    body = {"verb": verb, "confirm": "filling-line-1"}
    assert client(world["plant"].stranger).post(url, body).status_code == 404
    assert client(None).post(url, body).status_code == 302
    assert Operation.objects.exclude(kind__in=("provision", "build_program")).count() == 0


def test_removal_wants_the_name(world: dict[str, Any]) -> None:
    Operation.objects.update(state="succeeded")
    url = reverse("portal:environment_act", args=["filling-line-1"])
    engineer = client(world["plant"].engineer)
    answer = engineer.post(url, {"verb": "remove", "confirm": "wrong"}, follow=True)
    assert "Nothing was removed" in answer.content.decode()
    assert Environment.objects.get().state == "reserved"
    engineer.post(url, {"verb": "remove", "confirm": "filling-line-1"})
    assert Environment.objects.get().state == "removing"


def test_a_request_by_form_keeps_what_was_typed_and_names_the_rule(plant: Plant) -> None:
    body = {
        "name": "Bad Name",
        "project": plant.project.pk,
        "template_version": plant.template.pk,
        "size": "small",
        "cell": plant.cell.pk,
        "lease_days": "30",
        "save": "submit",
    }
    engineer = client(plant.engineer)
    answer = engineer.post(reverse("portal:request_new"), body)
    assert answer.status_code == 422
    assert "lower-case letters" in answer.content.decode()
    assert 'value="Bad Name"' in answer.content.decode()
    done = engineer.post(reverse("portal:request_new"), {**body, "name": "good-name"}, follow=True)
    assert "An approver decides" in done.content.decode()


def test_an_approver_approves_on_the_page(plant: Plant) -> None:
    request = actions.submit_request(
        plant.engineer, actions.create_request(plant.engineer, **plant.request_fields())
    )
    approver = client(plant.approver)
    assert "filling-line-1" in approver.get(reverse("portal:home")).content.decode()
    approver.post(reverse("portal:request_decide", args=[request.pk]), {"decision": "approve"})
    assert Environment.objects.get().name == "filling-line-1"


def test_a_one_time_link_signs_in_once(plant: Plant) -> None:
    _, secret = make_login_link(None, plant.engineer)
    url = reverse("portal:enter", args=[secret])
    first, second = Client(), Client()
    assert first.get(url).status_code == 200
    assert first.post(url).status_code == 302
    assert first.get(reverse("portal:requests")).status_code == 200
    assert second.post(url).status_code == 410
    assert Client(REMOTE_ADDR="10.0.0.9").post(url).status_code == 403


def test_pages_carry_a_strict_policy(plant: Plant) -> None:
    policy = client(plant.engineer).get(reverse("portal:home"))["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_a_character_zero_in_an_address_is_refused(plant: Plant) -> None:
    client = Client()
    client.force_login(plant.engineer)
    for address in ("/audit/?q=%00", "/environments/?q=a%00b"):
        answer = client.get(address)
        assert answer.status_code == 400
        assert "character 0" in answer.content.decode()
    answer = client.get("/api/v1/cells/?ordering=-slug&cursor=%00")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert "character 0" in answer.json()["detail"]


def test_a_wrong_password_is_said_and_too_many_lock_out(plant: Plant) -> None:
    plant.engineer.set_password("a long enough password")
    plant.engineer.save()
    anonymous = Client()
    answer = anonymous.post("/accounts/login/", {"login": "erin", "password": "wrong"})
    assert answer.status_code == 200
    assert "not correct" in answer.content.decode()
    for _ in range(10):
        anonymous.post("/accounts/login/", {"login": "erin", "password": "wrong"})
    # Even the right one is refused now, until the lock has cooled off.
    anonymous.post("/accounts/login/", {"login": "erin", "password": "a long enough password"})
    assert anonymous.get(reverse("portal:requests")).status_code == 302


def test_lists_cost_a_constant_number_of_queries(
    world: dict[str, Any], django_assert_max_num_queries: Any
) -> None:
    operator = client(world["plant"].operator)
    for name in (
        "home",
        "requests",
        "environments",
        "programs",
        "devices",
        "pool",
        "operations",
        "audit",
    ):
        with django_assert_max_num_queries(20):
            operator.get(reverse(f"portal:{name}"))
