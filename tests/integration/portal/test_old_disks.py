"""Disks that were set aside: the list, what would go, and a person's word for it; by page, API and command."""

from __future__ import annotations

import json

import pytest
from millwright.audit.models import AuditEntry
from millwright.inventory.models import OldDisk
from rest_framework.test import APIClient

from tests.support.plant import Plant, disk_set_aside, signed_in


@pytest.fixture
def row(plant: Plant) -> OldDisk:
    return disk_set_aside(plant)


def test_the_list_tells_all_and_finds_by_host_machine_and_disk(plant: Plant, row: OldDisk) -> None:
    caller = signed_in(plant.operator)
    page = caller.get("/old-disks/").content.decode()
    for told in (row.host.name, "one/vplc", "old.qcow2", "default", "1 MiB", f"/{row.pk}/"):
        assert told in page
    for text, found in ((row.host.name, True), ("vplc", True), ("old.q", True), ("none", False)):
        assert ("old.qcow2" in caller.get(f"/old-disks/?q={text}").content.decode()) is found
    OldDisk.objects.update(refused="it is of its machine's placement now")
    german = caller.get("/old-disks/", headers={"accept-language": "de"}).content.decode()
    assert "sie gehört zur jetzigen Platzierung ihrer Maschine" in german
    OldDisk.objects.all().delete()
    assert "No disks are set aside" in caller.get("/old-disks/").content.decode()


def test_a_refused_word_keeps_what_was_typed_and_changes_nothing(
    plant: Plant, row: OldDisk
) -> None:
    caller, url = signed_in(plant.operator), f"/old-disks/{row.pk}/"
    assert "old.qcow2" in caller.get(url).content.decode()
    answer = caller.post(url, {"word": "yes", "reason": "room"})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert 'value="yes"' in page
    assert 'value="room"' in page
    assert "the disk&#x27;s name is wanted, old.qcow2" in page
    assert OldDisk.objects.get().removal_asked_at is None
    assert not AuditEntry.objects.filter(object_type="olddisk").exists()
    assert caller.post(url, {"word": "old.qcow2", "reason": "room"}).status_code == 302
    kept = OldDisk.objects.get()
    assert (kept.removal_name, kept.removal_reason) == (str(plant.operator), "room")
    page = caller.get("/old-disks/").content.decode()
    assert "wants it removed" in page
    assert "has asked for it already" in caller.get(url).content.decode()


def test_the_api_says_what_would_go_unless_it_has_a_word(plant: Plant, row: OldDisk) -> None:
    caller = APIClient()
    caller.force_authenticate(plant.operator)
    (listed,) = caller.get("/api/v1/old-disks/").json()["results"]
    assert (listed["host"], listed["machine"], listed["allocation_bytes"]) == (
        row.host.name,
        "one/vplc",
        2**20,
    )
    url = f"/api/v1/old-disks/{row.pk}/remove/"
    told = caller.post(url, {}, format="json")
    assert told.status_code == 200
    assert (told.json()["word"], told.json()["against"]) == ("old.qcow2", [])
    assert OldDisk.objects.get().removal_asked_at is None
    refused = caller.post(url, {"word": "old.qcow2"}, format="json")
    assert refused.status_code == 400
    assert "reason" in json.dumps(refused.json())
    asked = caller.post(url, {"word": "old.qcow2", "reason": "room"}, format="json")
    assert asked.status_code == 202
    assert asked.json()["removal_name"] == str(plant.operator)
