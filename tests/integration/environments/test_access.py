"""Machines beside the controller: their cell, firewall, page, and the access word that opens them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.exceptions import ValidationError
from django.test import Client
from millwright.audit.models import AuditEntry
from millwright.catalog.actions import sync_template
from millwright.catalog.models import TemplateVersion
from millwright.environments import actions
from millwright.environments.access import access_word
from millwright.environments.models import Environment, Machine, Operation
from millwright.orchestrator.promises import read
from millwright.orchestrator.store import DjangoStore
from millwright.service_levels.models import Contract
from millwright.shopfloor.config import firewall_pairs
from millwright.shopfloor.models import EngineeringStation

from tests.support.plant import Plant, image_data
from vmtemplates import load_templates


@pytest.fixture
def store(plant: Plant, tmp_path: Path) -> DjangoStore:
    for template in load_templates().values():
        if template.health.probe == "http":
            sync_template(None, template.model_dump(mode="json", by_alias=True))
    TemplateVersion.objects.update(image=image_data(tmp_path), image_state="ready")
    return DjangoStore("site-1", Ed25519PrivateKey.generate(), tmp_path)


@pytest.fixture
def machine(plant: Plant, store: DjangoStore) -> Machine:
    """A running collaboration server with its address."""
    version = TemplateVersion.objects.get(template__name="collab-services")
    made = actions.create_request(
        plant.engineer, **plant.request_fields("team", template_version=version)
    )
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    row = Machine.objects.get()
    store.claim(row.pk, Operation.objects.get().pk)
    Operation.objects.update(state="succeeded")
    Machine.objects.update(observed="running")
    Environment.objects.update(state="running")
    row.refresh_from_db()
    return row


def client(user: object) -> Client:
    made = Client()
    made.force_login(user)  # type: ignore[arg-type]
    return made


def test_what_is_reached_over_the_network_needs_a_cell(plant: Plant, store: DjangoStore) -> None:
    version = TemplateVersion.objects.get(template__name="cae-node")
    with pytest.raises(ValidationError, match="needs a cell"):
        actions.create_request(
            plant.engineer, **plant.request_fields("one", template_version=version, cell=None)
        )


def test_the_catalogue_shows_them(plant: Plant, store: DjangoStore) -> None:
    page = client(plant.engineer).get("/catalogue/").content.decode()
    for title in ("CAE node", "Collaboration services", "CAD workstation", "Virtual PLC"):
        assert title in page
    assert page.count("Shares its CPUs with others; timing is not promised.") == 3


def test_its_firewall_admits_stations_to_services_and_the_gateway_to_its_health(
    plant: Plant, machine: Machine
) -> None:
    EngineeringStation.objects.create(
        project=plant.project, cell=plant.cell, name="desk", cidr="10.90.1.8/32"
    )
    pairs = {(pair.peer, pair.port) for pair in firewall_pairs(machine)}
    gateway = plant.cell.gateway_address
    assert pairs == {
        (gateway, 80), (gateway, 1883), (gateway, 9180), ("10.90.1.8/32", 80), ("10.90.1.8/32", 1883),
    }  # fmt: skip


def test_its_health_is_asked_and_promised(machine: Machine, store: DjangoStore) -> None:
    import datetime as dt

    assert Contract.objects.count() == 0
    (promise,) = read(dt.datetime.now(dt.UTC))
    (check,) = promise.checks
    assert check.ports == {"http": 9180}
    assert promise.expected == 1


def test_only_machines_with_services_get_an_access_word(
    plant: Plant, machine: Machine, store: DjangoStore
) -> None:
    word = store.machine(machine.pk).credentials["mw.access"]
    assert word == access_word(machine.pk)
    assert len(word) == 16
    made = actions.create_request(plant.engineer, **plant.request_fields("line"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    controller = Machine.objects.exclude(pk=machine.pk).get()
    assert "mw.access" not in store.machine(controller.pk).credentials
    assert access_word(controller.pk) != word


def test_the_page_shows_its_services_and_no_control_program(plant: Plant, machine: Machine) -> None:
    page = client(plant.engineer).get("/environments/team/").content.decode()
    address = machine.address_claim.address
    assert f'href="http://{address}:80/"' in page
    assert f"mqtt://{address}:1883" in page
    assert "Control program" not in page
    assert "Live tags" not in page
    assert access_word(machine.pk) not in page


def test_the_word_is_shown_to_operators_once_and_noted(plant: Plant, machine: Machine) -> None:
    answer = client(plant.engineer).post("/environments/team/access/")
    assert access_word(machine.pk) in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    entry = AuditEntry.objects.get(action="environment.access")
    assert entry.details["machines"] == [machine.name]
    assert access_word(machine.pk) not in str(entry.details)
    assert client(plant.approver).post("/environments/team/access/").status_code == 403
    assert client(plant.stranger).post("/environments/team/access/").status_code == 404
    told = client(plant.operator).post("/api/v1/environments/team/access/")
    assert told.json() == [
        {
            "machine": machine.name, "account": "plant", "word": access_word(machine.pk),
            "web": f"http://{machine.address_claim.address}:80/",
            "mqtt": f"mqtt://{machine.address_claim.address}:1883",
        }
    ]  # fmt: skip
    assert "no-store" in told["Cache-Control"]
