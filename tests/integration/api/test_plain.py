"""Answers that are made of columns are those that REST framework makes of instances."""

from __future__ import annotations

import pytest
from django.test import Client
from millwright.accounts.actions import issue_token, revoke_token
from millwright.accounts.models import User
from millwright.api import authentication
from millwright.api.plain import PlainSerializer, shape
from millwright.api.views.plant import AuditSerializer
from millwright.audit.models import AuditEntry
from millwright.environments import actions, labels
from millwright.environments.models import Environment, Machine, Operation, Request
from millwright.environments.serializers import (
    EnvironmentSerializer,
    MachineSerializer,
    OperationSerializer,
    RequestSerializer,
)
from millwright.inventory.models import AddressClaim, CpuClaim, Host
from millwright.inventory.serializers import HostSerializer, hosts_with_claims
from millwright.shopfloor.models import Device
from millwright.shopfloor.serializers import DeviceSerializer
from rest_framework.renderers import JSONRenderer
from rest_framework.serializers import ModelSerializer

from tests.support.plant import Plant

pytestmark = pytest.mark.django_db


@pytest.fixture
def filled(plant: Plant) -> Plant:
    """Something in each column: a request, its environment, an operation with steps, a claim, a device, a tag."""
    asked = actions.create_request(plant.engineer, **plant.request_fields())
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, asked))
    environment = Environment.objects.get()
    labels.set_tags(plant.engineer, environment, ["press", "hall-2"])
    machine, host = Machine.objects.get(), Host.objects.order_by("name").first()
    assert host is not None
    Machine.objects.filter(pk=machine.pk).update(host=host)
    CpuClaim.objects.get_or_create(
        host=host,
        cpu=3,
        defaults={
            "machine": machine,
            "vcpu": 0,
            "operation": Operation.objects.values_list("pk", flat=True)[0],
        },
    )
    if not AddressClaim.objects.filter(machine=machine).exists():
        AddressClaim.objects.create(cell=machine.cell, machine=machine, address="10.99.0.7")
    Device.objects.create(
        name="scale", project=environment.project, cell=machine.cell, address="10.99.0.9"
    )
    return plant


@pytest.mark.parametrize(
    ("serializer", "rows"),
    [
        (EnvironmentSerializer, Environment.objects.with_machines),
        (MachineSerializer, Machine.objects.with_names),
        (OperationSerializer, lambda: Operation.objects.with_names().prefetch_related("steps")),
        (RequestSerializer, Request.objects.with_names),
        (HostSerializer, hosts_with_claims),
        (DeviceSerializer, Device.objects.all),
    ],
)
def test_columns_and_instances_give_the_same(filled: Plant, serializer, rows) -> None:  # type: ignore[no-untyped-def]
    whole = [ModelSerializer.to_representation(serializer(), row) for row in rows()]
    assert whole
    wanted = JSONRenderer().render(whole)
    made = shape(serializer)
    assert made is not None
    of_columns = made.write(list(made.of(rows())))
    assert JSONRenderer().render(of_columns) == wanted
    assert JSONRenderer().render(serializer(rows(), many=True).data) == wanted


def test_lists_of_the_api_are_made_of_columns() -> None:
    known = {row for row in PlainSerializer.__subclasses__() if shape(row) is not None}
    assert known >= {
        AuditSerializer, DeviceSerializer, EnvironmentSerializer, HostSerializer,
        MachineSerializer, OperationSerializer, RequestSerializer,
    }  # fmt: skip


def test_pages_follow_each_other_in_the_order_asked_for(filled: Plant, client: Client) -> None:
    for n in range(5):
        actions.create_request(filled.engineer, **{**filled.request_fields(), "name": f"more-{n}"})
    client.force_login(filled.engineer)
    address, seen = "/api/v1/requests/?page_size=2&ordering=name", []
    while address:
        page = client.get(address).json()
        seen += [row["name"] for row in page["results"]]
        address = page["next"]
    assert seen == sorted(Request.objects.values_list("name", flat=True))


def test_a_reader_is_looked_up_once_and_what_he_lost_counts_at_once(
    plant: Plant, client: Client, django_assert_num_queries
) -> None:  # type: ignore[no-untyped-def]
    token, secret = issue_token(plant.operator, plant.operator, "reader")
    headers = {"authorization": f"Bearer {secret}"}
    address = "/api/v1/cells/"
    assert client.get(address, headers=headers).status_code == 200
    with django_assert_num_queries(1):
        assert client.get(address, headers=headers).status_code == 200
    revoke_token(plant.operator, token)
    assert client.get(address, headers=headers).status_code == 401


def test_a_change_asks_anew_and_a_while_later_a_read_too(
    plant: Plant, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _token, secret = issue_token(plant.operator, plant.operator, "reader")
    headers = {"authorization": f"Bearer {secret}"}
    assert client.get("/api/v1/hosts/", headers=headers).status_code == 200
    # As another process would: nobody here is told.
    User.objects.filter(pk=plant.operator.pk).update(is_active=False)
    host = Host.objects.order_by("name").first()
    assert host is not None
    answer = client.post(f"/api/v1/hosts/{host.name}/cordon/", headers=headers)
    assert answer.status_code == 401
    now = authentication.time.monotonic()
    monkeypatch.setattr(
        authentication.time, "monotonic", lambda: now + authentication.REMEMBERED_S + 1
    )
    assert client.get("/api/v1/hosts/", headers=headers).status_code == 401


def test_the_trail_is_made_of_columns_too(filled: Plant, client: Client) -> None:
    client.force_login(filled.administrator)
    rows = client.get("/api/v1/audit/?page_size=500").json()["results"]
    assert len(rows) == AuditEntry.objects.count()
    assert {row["project"] for row in rows} >= {Environment.objects.get().project.slug}
