"""The catalogue's cards and the pool's networks and abilities, as a reader of each language sees them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import translation
from millwright.accounts.models import Membership, Project
from millwright.audit.models import AuditEntry
from millwright.catalog.actions import sync_template
from millwright.catalog.models import Template
from millwright.environments import actions
from millwright.inventory.models import Host
from millwright.portal import cards
from millwright.portal.networks import networks_of, standing

from tests.support.plant import SPEC, Plant, signed_in
from vmtemplates.loader import load_templates

pytestmark = pytest.mark.django_db
PICTURES = Path(cards.__file__).parent / "templates/portal/pictures"


def test_every_offered_template_has_a_picture_words_for_it_and_a_text_in_each_language() -> None:
    known = {str(text) for text in cards.TEXTS}
    for name, template in load_templates().items():
        if not template.offered:
            continue
        assert name in cards.PICTURES and (PICTURES / f"{name}.svg").is_file(), name
        assert {template.title, template.summary} <= known, name
        for language, _name in settings.LANGUAGES[1:]:
            with translation.override(language):
                assert translation.gettext(template.summary) != template.summary, (name, language)
    for file in PICTURES.glob("*.svg"):
        text = file.read_text()
        assert not re.search(r"#[0-9a-f]{3}|style=|fill=|stroke=|<script|href", text), (
            f"{file.name}: colours are the style sheet's, for both themes"
        )


def test_a_card_says_what_is_inside_what_it_costs_and_what_is_promised(plant: Plant) -> None:
    sync_template(None, {**SPEC, "name": "cae-node", "class": "shared", "title": "CAE node"})
    sync_template(None, {**SPEC, "name": "own-make", "title": "Of our own"})
    Project.objects.filter(pk=plant.project.pk).update(quota_vcpus=7, quota_environments=9)
    erin = signed_in(plant.engineer)
    text = erin.get("/catalogue/").content.decode()
    assert 'role="img" aria-label="A controller with its scan' in text
    assert 'aria-label="A machine with its disks"' in text, (
        "one of the plant's own has a picture too"
    )
    assert "Modbus TCP, port 502" in text and "OPC UA, port 4840" in text
    assert "10 ms cycle" in text and "On this pool: emulated, timing not promised." in text
    cost = re.sub(r"<[^>]+>", "", text)
    assert "2 vCPUs, of it 1 realtime core, memory 512 MiB, disk 2 GiB" in cost
    assert text.index("t-own-make") < text.index("t-cae-node"), "controllers come first"
    assert "3 ×" in text, "seven vCPUs are room for three of two"
    Host.objects.filter(name="mw0-h1").update(accel="kvm")
    actions.approve_request(
        plant.approver,
        actions.submit_request(
            plant.engineer, actions.create_request(plant.engineer, **plant.request_fields())
        ),
    )
    text = erin.get("/catalogue/", headers={"accept-language": "de"}).content.decode()
    assert "2 ×" in text and "KVM, auf 1 Host mit Echtzeitkernen" in text
    assert "Virtuelle SPS" in text and "Of our own" in text and "klein" in text
    Project.objects.filter(pk=plant.project.pk).update(quota_vcpus=2)
    assert "no more" in erin.get("/catalogue/").content.decode()


def test_the_quota_is_that_of_the_chosen_project(plant: Plant) -> None:
    Membership.objects.create(user=plant.engineer, project=plant.other, role="engineer")
    Project.objects.filter(pk=plant.other.pk).update(quota_realtime_cores=1)
    erin = signed_in(plant.engineer)
    text = erin.get("/catalogue/?project=line-2").content.decode()
    assert "1 ×" in text and "quota of Line 2" in text
    assert "/requests/new/?template=vplc&amp;project=line-2" in text
    form = erin.get("/requests/new/?template=vplc&project=line-2").context["form"]
    assert form.initial["project"] == plant.other
    stranger = signed_in(plant.operator).get("/catalogue/").content.decode()
    assert "Fits" not in stranger, "who may ask for nothing has no quota to look at"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "waiting"),
        ({"networks": [("mw-line1", "mwc-line1", True)]}, "ready"),
        ({"networks": [("mw-line1", "mwc-line1", False)]}, "down"),
        ({"networks": [("mw-line1", "br0", True)]}, "down"),
        ({"cells": []}, "absent"),
    ],
)
def test_how_a_cell_stands_on_a_host(plant: Plant, changes: dict[str, Any], state: str) -> None:
    host = plant.hosts[0]
    host.topology["networks"] = [
        {"name": plant.cell.network_name, "bridge": bridge, "active": active}
        for _name, bridge, active in changes.get("networks", ())
    ]
    if "cells" in changes:
        host.policy["cells"] = changes["cells"]
    assert standing(plant.cell, host)[0] == state


def test_the_pool_shows_its_networks_and_a_host_its_bridges_with_their_vlans(plant: Plant) -> None:
    host = plant.hosts[0]
    host.topology |= {
        "networks": [{"name": plant.cell.network_name, "bridge": "mwc-line1", "active": True}],
        "links": [
            {"name": "mwc-line1", "kind": "bridge", "ports": ["eno1.12"], "vlan": None},
            {"name": "eno1.12", "kind": "vlan", "ports": ["eno1"], "vlan": 12},
            {"name": "eno1", "kind": "ethernet", "ports": [], "vlan": None},
            {"name": "br-office", "kind": "bridge", "ports": ["eno2"], "vlan": None},
        ],
    }
    host.capabilities = {
        "kvm": {"verdict": "no", "detail": "no /dev/kvm"},
        "nwfilter": {"verdict": "yes", "detail": "seen"},
    }
    host.save()
    rows = networks_of(host)
    assert [(row["name"], row["bridge"], row["vlans"]) for row in rows] == [
        ("line1", "mwc-line1", [12]),
        ("", "br-office", []),
    ]
    oda = signed_in(plant.operator)
    pool = oda.get("/pool/").content.decode()
    assert "0 of 100 addresses" in pool and "VLAN 12" in pool and "10.90.1.0/24" in pool
    assert "made when the first machine of the cell comes here" in pool, "the other host's part"
    assert "Hardware virtualisation" in pool and "#abilities" in pool
    page = oda.get("/pool/mw0-h1/", headers={"accept-language": "de"}).content.decode()
    assert "Hardware-Virtualisierung" in page and "Abhilfe:" in page
    assert "br-office" in page and page.index("Hardware-Virtualisierung") < page.index(
        "Firewall an"
    )


def test_an_administrator_takes_a_template_out_of_the_catalogue_and_offers_it_again(
    plant: Plant,
) -> None:
    ada, erin = signed_in(plant.administrator), signed_in(plant.engineer)
    place = "/administration/templates/vplc/offer/"
    ada.post(place, {"offered": "no"})
    assert "The catalogue is empty" in erin.get("/catalogue/").content.decode()
    assert "Offer it" in ada.get("/administration/settings/").content.decode()
    ada.post(place, {"offered": "yes"})
    assert "Virtual PLC" in erin.get("/catalogue/").content.decode()
    assert set(
        AuditEntry.objects.filter(object_type="template").values_list("action", flat=True)
    ) == {
        "template.hide",
        "template.offer",
    }
    sync_template(None, {**SPEC, "name": "tiny", "offered": False})
    Template.objects.filter(name="tiny").update(offered=False)
    told = ada.post("/administration/templates/tiny/offer/", {"offered": "yes"}, follow=True)
    assert "never offered" in told.content.decode()
