"""What a page or a list costs does not grow with the plant."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from millwright.environments import actions
from millwright.environments.models import Environment, Machine, Operation
from millwright.inventory.models import AddressClaim, CpuClaim, Drift, Host
from millwright.inventory.snapshot import snapshot
from millwright.shopfloor import actions as shopfloor
from millwright.shopfloor.models import Deployment, Program, ProgramVersion

from tests.support.plant import Plant

#: What a list may ask of the database, session and person included, however large the plant is.
API = {
    "requests": 7,
    "environments": 9,
    "machines": 7,
    "operations": 8,
    "programs": 7,
    "program-versions": 7,
    "deployments": 7,
    "devices": 7,
    "mappings": 7,
    "stations": 7,
    "set-points": 7,
    "hosts": 6,
    "cells": 6,
    "drifts": 6,
    "templates": 6,
    "projects": 6,
    "audit": 7,
    "status": 9,
    "prometheus/targets": 7,
}
PAGES = {
    "home": 20,
    "catalogue": 9,
    "requests": 10,
    "environments": 13,
    "environments?q=line": 13,
    "programs": 9,
    "devices": 9,
    "stations": 9,
    "pool": 14,
    "operations": 8,
    "audit": 8,
    "audit?q=line approve": 8,
    "search?q=line": 14,
    "search?q=10.9": 15,
}


def _page(name: str) -> str:
    view, _mark, query = name.partition("?")
    return reverse(f"portal:{view}") + (f"?{query}" if query else "")


def _grow(plant: Plant, first: int, count: int) -> None:
    """`count` more of everything."""
    now = timezone.now()
    for number in range(first, first + count):
        host = Host.objects.create(
            name=f"more-h{number}",
            uri=f"fake://more-h{number}",
            agent_url=f"http://10.77.0.{number + 1}:9177/metrics",
            policy={"housekeeping_cpus": "0", "realtime_cpus": "1", "shared_cpus": "0"},
            topology={"cpus": [{"id": 0}, {"id": 1}]},
            health="up",
            memory_bytes=2**33,
            disk_free_bytes=2**36,
            last_seen=now,
        )
        Drift.objects.create(
            host=host, kind="foreign", name=f"vm{number}", first_seen=now, last_seen=now
        )
        request = actions.create_request(plant.engineer, **plant.request_fields(f"line-{number}"))
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, request))
        actions.submit_request(
            plant.engineer,
            actions.create_request(plant.engineer, **plant.request_fields(f"asked-{number}")),
        )
        environment = Environment.objects.get(name=f"line-{number}")
        operation = Operation.objects.get(environment=environment)
        for position in range(3):
            operation.steps.create(position=position, name=f"s{position}", title="Step")
        machine = Machine.objects.get(environment=environment)
        Machine.objects.filter(pk=machine.pk).update(host=host, observed="running")
        machine.refresh_from_db()
        CpuClaim.objects.create(host=host, cpu=1, machine=machine, vcpu=1, operation=operation.pk)
        AddressClaim.objects.create(
            cell=plant.cell, address=f"10.90.1.{100 + number}", machine=machine
        )
        program = Program.objects.create(project=plant.project, name=f"program-{number}")
        version = ProgramVersion.objects.create(
            program=program, number=1, files={}, state="ready", uploaded_by=plant.engineer
        )
        Deployment.objects.create(
            machine=machine, program_version=version, deployed_by=plant.engineer, state="active"
        )
        device = shopfloor.add_device(
            plant.engineer,
            name=f"device-{number}",
            project=plant.project,
            cell=plant.cell,
            address=f"10.90.1.{20 + number}",
            port=502,
        )
        shopfloor.set_mappings(
            plant.engineer,
            machine,
            device,
            [{"tag": "Main.level", "area": "input", "register": "0", "direction": "in"}],
        )


def _roomy(plant: Plant) -> None:
    for field in ("vcpus", "realtime_cores", "environments"):
        setattr(plant.project, f"quota_{field}", 90)
    plant.project.quota_memory_bytes = plant.project.quota_disk_bytes = 2**42
    plant.project.save()


def _cost(caller: Client, url: str) -> tuple[int, list[str]]:
    caller.get(url)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        answer = caller.get(url)
    assert answer.status_code == 200, url
    return len(captured), [query["sql"][:160] for query in captured]


@pytest.mark.parametrize("kind", ["api", "portal"])
def test_no_list_asks_more_when_there_is_more(plant: Plant, kind: str) -> None:
    _roomy(plant)
    budgets = (
        {f"/api/v1/{name}" + ("" if "/" in name else "/"): most for name, most in API.items()}
        if kind == "api"
        else {_page(name): most for name, most in PAGES.items()}
    )
    for person in (plant.administrator, plant.engineer):
        caller = Client()
        caller.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
        seen = [
            url
            for url in budgets
            if person is plant.administrator
            or not any(word in url for word in ("hosts", "drifts", "prometheus"))
        ]
        start = Environment.objects.count()
        _grow(plant, start, 2)
        few = {url: _cost(caller, url) for url in seen}
        _grow(plant, start + 2, 5)
        many = {url: _cost(caller, url) for url in seen}
        over = {
            (person.username, url): (few[url][0], many[url], budgets[url])
            for url in seen
            if many[url][0] > min(few[url][0], budgets[url])
        }
        assert not over, over


def test_the_pool_is_read_with_five_queries(plant: Plant, django_assert_num_queries: Any) -> None:
    _roomy(plant)
    _grow(plant, 0, 6)
    with django_assert_num_queries(5):
        read = snapshot()
    assert len(read.hosts) == 8
    by_name = {host.name: host for host in read.hosts}
    assert by_name["more-h3"].claimed_cpus == frozenset({1})
    assert by_name["more-h3"].memory_promised_bytes > by_name["mw0-h1"].memory_promised_bytes


def test_an_environments_page_costs_the_same_with_a_long_history(plant: Plant) -> None:
    _roomy(plant)
    _grow(plant, 0, 1)
    caller = Client()
    caller.force_login(plant.engineer, backend="django.contrib.auth.backends.ModelBackend")
    url = reverse("portal:environment", args=["line-0"])
    short, _ = _cost(caller, url)
    environment = Environment.objects.get(name="line-0")
    Operation.objects.update(state="succeeded")
    for _ in range(15):
        operation = Operation.objects.create(
            kind="restart",
            state="succeeded",
            project=plant.project,
            environment=environment,
            machine=environment.machines.get(),
            requested_by=plant.engineer,
        )
        operation.steps.create(position=0, name="s", title="Step")
    long, asked = _cost(caller, url)
    assert long <= short, asked


def test_the_pool_is_shown_page_by_page_and_names_no_machine_to_strangers(plant: Plant) -> None:
    _roomy(plant)
    _grow(plant, 0, 30)
    pages = {}
    for who in (plant.operator, plant.stranger):
        caller = Client()
        caller.force_login(who, backend="django.contrib.auth.backends.ModelBackend")
        pages[who.username] = [
            caller.get(reverse("portal:pool"), {"page": number}).content.decode()
            for number in (1, 2)
        ]
    assert [page.count('<section class="card h-100"') for page in pages["stan"]] == [24, 8]
    assert "mw-line-0-vplc vCPU 1" in pages["oda"][0]
    assert "mw-line-" not in "".join(pages["stan"])
    assert "taken" in pages["stan"][0]
