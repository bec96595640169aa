"""Home says what is wrong first; the environments' list filters and acts on several."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from millwright.environments import actions, labels
from millwright.environments.models import Environment, Machine, Operation
from millwright.inventory.models import Host

from tests.support.plant import Plant


def _client(user: Any) -> Client:
    made = Client()
    made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return made


@pytest.fixture
def two(plant: Plant) -> Plant:
    for name in ("line-a", "line-b"):
        made = actions.create_request(plant.engineer, **plant.request_fields(name))
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Operation.objects.update(state="succeeded")
    Environment.objects.update(state="running")
    Machine.objects.update(host=plant.hosts[0], observed="running")
    return plant


def test_home_says_what_is_wrong_and_to_whom_it_matters(two: Plant) -> None:
    url = reverse("portal:home")
    assert "Failed in the last day" not in _client(two.operator).get(url).content.decode()
    operation = Operation.objects.filter(kind="provision").first()
    assert operation is not None
    Operation.objects.filter(pk=operation.pk).update(
        state="failed", ended_at=timezone.now(), error="the volume is full"
    )
    Host.objects.filter(name="mw0-h2").update(health="down")
    text = _client(two.operator).get(url).content.decode()
    for words in ("the volume is full", "1 of 2 hosts are up", "mw0-h2"):
        assert words in text
    engineer = _client(two.engineer).get(url).content.decode()
    assert "the volume is full" in engineer
    assert "hosts are up" not in engineer
    assert "the volume is full" not in _client(two.stranger).get(url).content.decode()


def test_the_list_is_filtered_by_project_owner_and_lease(two: Plant) -> None:
    Environment.objects.filter(name="line-b").update(owner=two.approver, lease_ending=True)
    caller, url = _client(two.engineer), reverse("portal:environments")

    def names(**query: str) -> list[str]:
        return [row.name for row in caller.get(url, query).context["object_list"]]

    assert names() == ["line-a", "line-b"]
    assert names(mine="1") == ["line-a"]
    assert names(ending="1") == ["line-b"]
    assert names(project="line-1") == ["line-a", "line-b"]
    assert names(project="line-2") == []
    assert names(q="-b") == ["line-b"]


def test_several_are_stopped_at_once_and_one_that_cannot_is_named(two: Plant) -> None:
    Environment.objects.filter(name="line-b").update(state="provisioning")
    body = {"name": ["line-a", "line-b"], "verb": "stop", "reason": "cleaning"}
    page = _client(two.operator).post(reverse("portal:environments_act"), body, follow=True)
    text = page.content.decode()
    assert "1 environment is under way." in text
    assert "line-b is provisioning" in text
    (stop,) = Operation.objects.filter(kind="stop")
    assert (stop.environment.name, stop.reason) == ("line-a", "cleaning")  # type: ignore[union-attr]


def test_only_what_one_may_operate_can_be_ticked(two: Plant) -> None:
    url = reverse("portal:environments")
    assert 'form="many" name="name"' in _client(two.engineer).get(url).content.decode()
    assert 'form="many"' not in _client(two.approver).get(url).content.decode()


def test_tags_and_kept_views_find_environments_again(plant: Plant) -> None:
    for name in ("north", "south"):
        made = actions.create_request(plant.engineer, **plant.request_fields(name))
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    caller = Client()
    caller.force_login(plant.engineer, backend="django.contrib.auth.backends.ModelBackend")
    url = reverse("portal:environments")
    caller.post(reverse("portal:environment_set_tags", args=["north"]), {"tags": "Pilot, line-7"})
    assert Environment.objects.get(name="north").tags.count() == 2
    found = caller.get(url, {"tag": "pilot"}).content.decode()
    assert "/environments/north/" in found and "/environments/south/" not in found
    # Only filters are kept, and under a name of one's own.
    query = "tag=pilot&page=3&next=//elsewhere"
    answer = caller.post(reverse("portal:view_save"), {"name": "Pilots", "query": query})
    assert answer["Location"] == f"{url}?tag=pilot"
    assert ">Pilots</a>" in caller.get(url).content.decode()
    other = Client()
    other.force_login(plant.approver, backend="django.contrib.auth.backends.ModelBackend")
    assert ">Pilots</a>" not in other.get(url).content.decode()


@pytest.mark.parametrize("names", [["Ä"], ["-a"], ["a" * 33], [f"t{n}" for n in range(21)]])
def test_a_wrong_tag_is_refused(plant: Plant, names: list[str]) -> None:
    made = actions.create_request(plant.engineer, **plant.request_fields())
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    environment = Environment.objects.get()
    with pytest.raises(ValidationError) as refused:
        labels.set_tags(plant.engineer, environment, names)
    assert set(refused.value.message_dict) == {"tags"}
    assert not environment.tags.exists()
