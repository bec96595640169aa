"""Room for hosts to die: told to the balancer, kept by rounds and at each placement, with the reason where it is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.exceptions import ValidationError
from django.test import Client
from millwright.balancing import recommending, sparing
from millwright.balancing.plant import read_plant
from millwright.catalog.models import TemplateVersion
from millwright.core.placement import HostVerdict, Placement
from millwright.environments import actions
from millwright.environments.models import Machine
from millwright.inventory.models import Host
from millwright.inventory.snapshot import OVERHEAD_BYTES
from millwright.operations import StepFailed
from millwright.orchestrator.store import DjangoStore

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant, image_data

__all__ = ["machines"]


@pytest.fixture
def tight(plant: Plant, machines: list[Machine]) -> list[Machine]:
    """Two machines on the first host; the other one holds them and half of another."""
    Machine.objects.update(recovery="recoverable", movability="free", cpu_assignment={})
    one = machines[0].memory_bytes + OVERHEAD_BYTES
    Host.objects.update(memory_bytes=int(2.5 * one))
    return machines


def _request(plant: Plant, name: str) -> Any:
    return actions.create_request(plant.engineer, **plant.request_fields(name))


def test_a_request_that_would_use_the_room_up_is_refused_with_the_reason(
    plant: Plant, tight: list[Machine], client: Client
) -> None:
    with pytest.raises(ValidationError, match="from 0 to 3"):
        recommending.set_mode(plant.operator, "off", spare_hosts=4)
    client.force_login(plant.operator)
    client.post("/balancing/", {"verb": "mode", "mode": "shadow", "spare_hosts": "1"})
    assert read_plant().settings.spare_hosts == 1
    assert client.get("/api/v1/recommendations/mode/").json()["spare_hosts"] == 1
    with pytest.raises(ValidationError, match="would find no room if mw0-h1 died") as told:
        actions.submit_request(plant.engineer, _request(plant, "three"))
    # Other projects' machines are not named.
    assert "/vplc" not in told.value.messages[0]
    # What is not said again stays; nought is said.
    recommending.set_mode(plant.operator, "recommend")
    assert read_plant().settings.spare_hosts == 1
    recommending.set_mode(plant.operator, "recommend", spare_hosts=0)
    assert actions.submit_request(plant.engineer, _request(plant, "four")).state == "submitted"


def test_what_is_approved_is_placed_only_where_the_room_is_left(
    plant: Plant, tight: list[Machine], tmp_path: Path
) -> None:
    TemplateVersion.objects.update(image=image_data(tmp_path), image_state="ready")
    made = actions.submit_request(plant.engineer, _request(plant, "three"))
    actions.approve_request(plant.approver, made)
    machine = Machine.objects.get(environment__name="three")
    store = DjangoStore("site-1", Ed25519PrivateKey.generate(), tmp_path)
    recommending.set_mode(plant.operator, "off", spare_hosts=1)
    with pytest.raises(StepFailed, match="room is kept for 1 hosts to die"):
        store.claim(machine.pk, uuid4())
    machine.refresh_from_db()
    assert machine.host is None
    # With more room it is placed, and any host may still die.
    Host.objects.update(memory_bytes=2**35)
    store.claim(machine.pk, uuid4())
    machine.refresh_from_db()
    assert machine.host is not None


def test_the_next_best_host_is_taken_where_it_leaves_the_room(
    plant: Plant, tight: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    recommending.set_mode(plant.operator, "off", spare_hosts=1)
    verdicts = (HostVerdict("mw0-h1", score=2.0), HostVerdict("mw0-h2", score=1.0))
    plan = Placement(SimpleNamespace(), verdicts[0], verdicts)  # type: ignore[arg-type]  # not asked
    asked: list[str | None] = []

    def failure(plant_: Any, k: int) -> Any:
        host = next(vm.host for vm in plant_.vms if vm.name == "new")
        asked.append(host)
        lost = SimpleNamespace(hosts=("mw0-h1",), left=(1, 2))
        return SimpleNamespace(ok=host == "mw0-h2", broken=(lost,))

    monkeypatch.setattr(sparing, "failure_capacity", failure)

    def standing(verdict: HostVerdict) -> Any:
        return SimpleNamespace(name="new", host=verdict.host)

    chosen, why = sparing.spared(plan, standing)
    assert chosen.chosen == verdicts[1]
    assert (why, asked) == ("", ["mw0-h1", "mw0-h2"])
