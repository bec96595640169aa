"""What rounds are told in the plant: mode, level and numbers, by page, interface and command, with a reason."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.balancing import recommending
from millwright.balancing.models import Recommendation
from millwright.balancing.plant import read_plant
from millwright.core.balancing import LEVELS
from millwright.environments.models import Machine

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_recommending import crowded
from tests.integration.environments.test_wishes import Clock, clock
from tests.support.plant import Plant

__all__ = ["clock", "crowded", "machines"]


def test_the_page_shows_and_sets_level_and_numbers_with_a_reason(
    plant: Plant, crowded: list[Machine], client: Client, clock: Clock
) -> None:
    client.force_login(plant.operator)
    page = client.get("/balancing/").content.decode()
    assert '<option value="3" selected>3, moderate: hosts above 88 %</option>' in page
    for number, level in LEVELS.items():
        assert number == 1 or f"above {level.threshold * 100:.0f} %" in page
    form = {
        "verb": "mode",
        "mode": "recommend",
        "level": "4",
        "spare_hosts": "0",
        "max_moves": "7",
        "sustain_rounds": "3",
        "cooldown_rounds": "12",
        "link_moves": "2",
        "reason": "week of the audit",
    }
    client.post("/balancing/", form)
    row = recommending.balancer()
    assert (row.mode, row.level, row.max_moves, row.sustain_rounds, row.cooldown_rounds) == (
        "recommend",
        4,
        7,
        3,
        12,
    )
    entry = AuditEntry.objects.get(action="balancer.mode")
    assert entry.reason == "week of the audit"
    assert entry.details["before"] == {
        "mode": "off",
        "level": 3,
        "max_moves": 4,
        "sustain_rounds": 2,
        "cooldown_rounds": 6,
        "link_moves": 0,
    }
    settings = read_plant().settings
    assert settings.link_moves == 2
    assert (settings.max_moves, settings.sustain_rounds, settings.cooldown_rounds) == (7, 3, 12)
    # Rounds go by it: three of them are waited for, not two.
    clock.rounds(2)
    assert not Recommendation.objects.exists()
    clock.rounds(1)
    waiting = Recommendation.objects.filter(state="open").first()
    assert waiting is not None
    page = client.get("/balancing/").content.decode()
    assert "the next one at " in page
    client.post(
        "/balancing/",
        {"verb": "reject", "pk": waiting.pk, "revision": 1, "reason": "the line is being tested"},
    )
    entry = AuditEntry.objects.get(action="recommendation.reject")
    assert entry.reason == "the line is being tested"


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("max_moves", 0, "0: from 1 to 50"),
        ("max_moves", 51, "51: from 1 to 50"),
        ("sustain_rounds", 0, "0: from 1 to 24"),
        ("sustain_rounds", 25, "25: from 1 to 24"),
        ("cooldown_rounds", 289, "289: from 0 to 288"),
        ("link_moves", 51, "51: from 0 to 50"),
        ("level", 6, "6: from 1 to 5"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_the_rule(
    plant: Plant, client: Client, name: str, value: int, rule: str
) -> None:
    with pytest.raises(ValidationError, match=rule):
        recommending.set_mode(plant.operator, "recommend", **{name: value})
    client.force_login(plant.operator)
    form = {"verb": "mode", "mode": "recommend", name: str(value)}
    refused = client.post("/balancing/", form | {"reason": "more <hands>"})
    page = refused.content.decode()
    assert (refused.status_code, rule in page) == (422, True)
    # Nothing of what was typed is lost.
    assert 'value="more &lt;hands&gt;"' in page
    assert name == "level" or f'name="{name}" value="{value}"' in page
    assert '<option value="recommend" selected>' in page
    body = {"mode": "recommend", name: value}
    told = client.post("/api/v1/recommendations/mode/", body, "application/json")
    assert told.status_code == 400
    assert name in str(told.json())
    assert recommending.balancer().mode == "off"
    assert not AuditEntry.objects.filter(action="balancer.mode").exists()


def test_it_is_for_those_who_keep_the_pool_and_what_is_no_number_is_said(
    plant: Plant, client: Client
) -> None:
    with pytest.raises(PermissionRefused):
        recommending.set_mode(plant.engineer, "recommend", max_moves=9)
    client.force_login(plant.operator)
    form = {"verb": "mode", "mode": "recommend", "max_moves": "many"}
    page = client.post("/balancing/", form, follow=True).content.decode()
    assert "&#x27;many&#x27;: a whole number" in page
    told = client.post(
        "/api/v1/recommendations/mode/",
        {"mode": "recommend", "max_moves": 9, "reason": "more hands"},
        "application/json",
    ).json()
    assert (told["max_moves"], told["sustain_rounds"], told["cooldown_rounds"]) == (9, 2, 6)
    assert told["next_round"] is not None
    assert AuditEntry.objects.get(action="balancer.mode").reason == "more hands"
