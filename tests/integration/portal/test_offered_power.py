"""Start, restart and stop are offered where they make sense, and nowhere else."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse
from millwright.core.lifecycle import EnvironmentState
from millwright.environments import actions
from millwright.environments.models import Environment

from tests.support.plant import Plant

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        ("running", {"restart", "stop"}),
        ("stopped", {"start"}),
        ("degraded", {"start", "restart", "stop"}),
        ("failed", {"start", "restart", "stop"}),
        ("provisioning", set()),
        ("reserved", set()),
        ("removing", set()),
    ],
)
def test_buttons_follow_the_state(plant: Plant, state: str, offered: set[str]) -> None:
    made = actions.create_request(plant.engineer, **plant.request_fields())
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    environment = Environment.objects.get()
    Environment.objects.update(state=state)
    caller = Client()
    caller.force_login(plant.engineer, backend="django.contrib.auth.backends.ModelBackend")
    text = caller.get(reverse("portal:environment", args=[environment.name])).content.decode()
    buttons = dict(
        re.findall(r'name="verb" value="(start|restart|stop)" data-offer( disabled)?>', text)
    )
    assert {verb for verb, disabled in buttons.items() if not disabled} == offered
    # What comes with the live steps says the same to a page that was loaded before.
    assert (
        f'data-offered="{" ".join(v for v in ("start", "restart", "stop") if v in offered)}"'
        in text
    )


def test_every_state_was_thought_of() -> None:
    assert {str(state) for state in EnvironmentState} == {
        "running", "stopped", "degraded", "failed", "provisioning", "reserved", "removing", "removed",
    }  # fmt: skip
