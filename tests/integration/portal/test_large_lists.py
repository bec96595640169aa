"""Lists and searches that stay cheap when the plant is large: what is counted, read and found by an index."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from millwright.audit.actions import record
from millwright.audit.models import AuditEntry
from millwright.environments import actions
from millwright.environments.models import Environment, Machine, Request
from millwright.inventory.models import AddressClaim, CpuClaim, Host
from millwright.inventory.snapshot import snapshot
from millwright.portal.views.base import Bounded
from millwright.portal.views.search import find_everywhere
from millwright.shopfloor.models import Device, Program

from tests.support.plant import Plant


def _client(user: object) -> Client:
    made = Client()
    made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")  # type: ignore[arg-type]
    return made


def _built(plant: Plant, name: str = "filling-line-1") -> Machine:
    made = actions.create_request(plant.engineer, **plant.request_fields(name))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    return Machine.objects.get(environment__name=name)


def test_a_trail_longer_than_anybody_leafs_through_is_not_counted_to_its_end(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        record(plant.engineer, "environment.stop", plant.project)
    AuditEntry.objects.bulk_create(
        AuditEntry(actor_name="oda", action="environment.start", object_name=f"line-{n}")
        for n in range(120)
    )
    caller = _client(plant.administrator)
    page = caller.get(reverse("portal:audit"), {"q": "line-"}).content.decode()
    assert "1 to 50 of 120" in page
    monkeypatch.setattr(Bounded, "most", 70)
    page = caller.get(reverse("portal:audit"), {"q": "line-"}).content.decode()
    assert "1 to 50 of more than 70" in page
    last = caller.get(reverse("portal:audit"), {"q": "line-", "page": 2}).content.decode()
    assert "51 to 70 of more than 70" in last
    assert 'rel="next"' not in last
    assert caller.get(reverse("portal:audit"), {"q": "line-", "page": 3}).status_code == 404


@pytest.mark.django_db
def test_words_are_sought_in_each_column_and_never_across_two() -> None:
    AuditEntry.objects.create(
        actor_name="Anna", action="machine.stop", object_name="line-7", reason="leak at Valve"
    )
    for text, count in (
        ("anna", 1), ("STOP line", 1), ("valve 7 nn", 1), ("annamachine", 0), ("line-7leak", 0),
        ("stop%", 0), ("100%", 0), ("line_7", 0),
    ):  # fmt: skip
        assert AuditEntry.objects.search(text).count() == count, text


def test_a_page_of_the_pool_is_read_like_the_whole(plant: Plant) -> None:
    machine = _built(plant)
    host = Host.objects.order_by("name").first()
    assert host is not None
    Machine.objects.filter(pk=machine.pk).update(host=host)
    CpuClaim.objects.create(host=host, cpu=1, machine=machine, vcpu=0, operation=machine.pk)
    whole = {row.name: row for row in snapshot().hosts}
    assert whole[host.name].claimed_cpus == frozenset({1})
    for row in Host.objects.all():
        assert snapshot([row]).hosts == (whole[row.name],)
    assert snapshot([]).hosts == ()


def test_machines_are_found_by_the_beginning_of_either_address(plant: Plant) -> None:
    machine = _built(plant)
    Machine.objects.filter(pk=machine.pk).update(mac="52:54:00:AB:cd:01", observed="running")
    AddressClaim.objects.filter(machine=machine).delete()
    AddressClaim.objects.create(cell=plant.cell, address="10.90.1.77", machine=machine)

    def found(text: str) -> list[str]:
        hits = find_everywhere(plant.operator, text)
        return [hit.name for hit in hits if hit.url.endswith(f"/{machine.environment.name}/")]

    name = str(machine)
    for text in ("10.90.1.77", "10.90.1.", "10", "52:54", "52:54:00:ab", "52"):
        assert name in found(text), text
    for text in ("10.90.1.78", "0.90", "52:55", "54:00"):
        assert name not in found(text), text


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no such indexes")
def test_searches_are_served_by_an_index(plant: Plant) -> None:
    asked = {
        "audit_words": AuditEntry.objects.search("env-00100").order_by(),
        "environment_words": Environment.objects.filter(name__icontains="line-1").order_by(),
        "request_words": Request.objects.filter(name__icontains="line-1").order_by(),
        "program_words": Program.objects.filter(name__icontains="tank").order_by(),
        "device_words": Device.objects.filter(name__icontains="meter").order_by(),
        "device_begins": Device.objects.filter(address__startswith="10.90.1").order_by(),
        "address_claim_begins": AddressClaim.objects.filter(
            address__startswith="10.90.1"
        ).order_by(),
        "machine_mac_begins": Machine.objects.filter(mac__istartswith="52:54").order_by(),
        "request_newest": Request.objects.order_by("-created_at")[:50],
    }
    with connection.cursor() as cursor:
        # A handful of rows is read faster without: that it can be used is the question.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        for name, rows in asked.items():
            plan = rows.explain()
            assert re.search(rf"\b{name}\b", plan), (name, plan)
