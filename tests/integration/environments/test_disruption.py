"""What users suffer from a move: by the template, or as said for an environment; weighed and told."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.balancing import recommending
from millwright.balancing.models import Recommendation
from millwright.balancing.plant import read_plant
from millwright.catalog.models import TemplateVersion
from millwright.environments import moving
from millwright.environments.models import Environment, Machine
from pydantic import ValidationError as SchemaError

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_recommending import _rounds, crowded
from tests.support.plant import Plant
from vmtemplates.schema import Template

__all__ = ["crowded", "machines"]
SECOND = dt.timedelta(seconds=1)
TEMPLATE = Path(__file__).parents[3] / "vmtemplates/tiny/template.yaml"


def weights() -> dict[str, float]:
    return {vm.name: vm.disruption for vm in read_plant().vms}


def by_template(value: float) -> None:
    for version in TemplateVersion.objects.all():
        version.spec = {**version.spec, "disruption": value}
        version.save()


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (-1, "greater than or equal to 0"),
        (2_000_000, "less than or equal to 1000000"),
        ("inf", "finite"),
        ("a lot", "valid number"),
    ],
)
def test_a_template_says_it_within_bounds(value: Any, rule: str) -> None:
    text = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    assert Template.model_validate(text).as_spec()["disruption"] == 0
    assert Template.model_validate(text | {"disruption": 600}).as_spec()["disruption"] == 600
    with pytest.raises(SchemaError, match=rf"disruption\n.*{rule}"):
        Template.model_validate(text | {"disruption": value})


def test_the_environment_s_word_is_above_the_template_s(
    plant: Plant, machines: list[Machine]
) -> None:
    one, two = machines
    assert weights() == {str(one): 0, str(two): 0}
    by_template(600.0)
    assert weights() == {str(one): 600, str(two): 600}
    moving.set_disruption(plant.operator, one.environment, 0.0, "nobody looks at night")
    assert weights() == {str(one): 0, str(two): 600}
    moving.set_disruption(plant.operator, one.environment, 90.5)
    assert weights() == {str(one): 90.5, str(two): 600}
    moving.set_disruption(plant.operator, one.environment, None)
    assert weights() == {str(one): 600, str(two): 600}
    entry = AuditEntry.objects.filter(action="environment.disruption").order_by("pk").first()
    assert entry is not None
    assert (entry.actor, entry.project) == (plant.operator, one.environment.project)
    assert (entry.details["before"], entry.details["after"]) == (None, 0.0)
    assert entry.reason == "nobody looks at night"


def test_who_may_say_what_moves_them_says_it_and_bounds_are_kept(
    plant: Plant, machines: list[Machine], client: Client
) -> None:
    environment = machines[0].environment
    with pytest.raises(PermissionRefused):
        moving.set_disruption(plant.engineer, environment, 5.0)
    for value in (-1.0, 1e7, float("nan")):
        with pytest.raises(ValidationError, match="0 to 1000000 core-seconds"):
            moving.set_disruption(plant.operator, environment, value)
    client.force_login(plant.operator)
    path = f"/api/v1/environments/{environment.name}/disruption/"
    for body, words in (({"disruption": -1}, "greater than or equal to 0"), ({}, "required")):
        answer = client.post(path, json.dumps(body), content_type="application/json")
        assert (answer.status_code, words in answer.content.decode()) == (400, True)
    assert not AuditEntry.objects.filter(action="environment.disruption").exists()
    answer = client.post(path, {"disruption": 5.5}, content_type="application/json")
    assert (answer.status_code, answer.json()["disruption"]) == (200, 5.5)
    act = f"/environments/{environment.name}/act/"
    client.post(act, {"verb": "disruption", "disruption": "many"})
    assert "is no number" in client.get(f"/environments/{environment.name}/").content.decode()
    client.post(act, {"verb": "disruption", "disruption": "1234,5"})
    assert Environment.objects.get(pk=environment.pk).disruption == 1234.5
    page = client.get(f"/environments/{environment.name}/").content.decode()
    assert 'name="disruption" inputmode="decimal" value="1234.5"' in page
    client.post(act, {"verb": "disruption", "disruption": ""})
    assert Environment.objects.get(pk=environment.pk).disruption is None
    client.force_login(plant.engineer)
    assert (
        'name="disruption"' not in client.get(f"/environments/{environment.name}/").content.decode()
    )


def test_whose_users_suffer_stays_and_the_other_one_goes(
    plant: Plant, crowded: list[Machine]
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    _rounds(4)
    first = Recommendation.objects.get(state="open").machine
    assert first is not None
    assert "suffer" not in Recommendation.objects.get(state="open").text
    moving.set_disruption(plant.operator, first.environment, 100_000.0)
    by_template(7.0)
    later = timezone.now() + dt.timedelta(minutes=70)
    for index in range(3):
        recommending.balance_round(later + index * recommending.EVERY_S * SECOND)
    row = Recommendation.objects.get(state="open")
    assert row.machine_id != first.pk
    assert row.text.endswith("; 7 core-seconds of its cost are what its users suffer")
    assert row.effect["cost"] >= 7


def test_why_it_is_here_tells_it_and_who_says_so(
    plant: Plant, machines: list[Machine], client: Client
) -> None:
    machine = machines[0]
    client.force_login(plant.operator)
    path = f"/api/v1/machines/{machine.pk}/explain/"
    assert client.get(path).json()["disruption"] == 0
    page = f"/machines/{machine.pk}/place/"
    assert "what its users suffer" not in client.get(page).content.decode()
    by_template(600.0)
    told = client.get(path).json()
    assert (told["disruption"], told["disruption_own"]) == (600, False)
    words = client.get(page).content.decode()
    assert "A move counts 600 core-seconds for what its users suffer, as its template says" in words
    moving.set_disruption(plant.operator, machine.environment, 90.0)
    told = client.get(path).json()
    assert (told["disruption"], told["disruption_own"]) == (90, True)
    assert "as said for its environment" in client.get(page).content.decode()
