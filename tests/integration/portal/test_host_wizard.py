"""Adding a host by page and API, through a real desk, with a simulated host."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from millwright.accounts.actions import issue_token
from millwright.audit.models import AuditEntry
from millwright.hypervisor.fake import FakeHypervisor, FakePool
from millwright.inventory.joining import suggestion
from millwright.inventory.models import Host
from millwright.inventory.snapshot import MOST_KINDS, Kinds, topology_of
from millwright.orchestrator.joining import checker
from rest_framework.test import APIClient

from tests.support.desk import open_desk
from tests.support.plant import Plant

pytestmark = pytest.mark.django_db(transaction=True)
WORDS = {"name": "press-9", "uri": "qemu+tls://press-9/system"}


@pytest.fixture
def page(plant: Plant) -> Iterator[tuple[Client, list[FakeHypervisor]]]:
    """An operator's browser; hosts that are asked, and may be made unreachable."""
    asked: list[FakeHypervisor] = []

    def factory(name: str, uri: str, site: str) -> FakeHypervisor:
        host = FakePool(site).add_host(name)
        host.unreachable = "dead" in uri
        asked.append(host)
        return host

    made = Client()
    made.force_login(plant.operator, backend="django.contrib.auth.backends.ModelBackend")
    with open_desk(host_check=checker("site", factory)):
        yield made, asked


def test_a_host_is_asked_then_registered_with_roles_for_its_cpus(
    plant: Plant, page: tuple[Client, Any]
) -> None:
    browser, asked = page
    assert "1. Which host" in browser.get("/pool/new/").content.decode()
    shown = browser.post("/pool/new/", {**WORDS, "verb": "check"}).content.decode()
    assert "2. What it says" in shown
    assert 'name="realtime_cpus"' in shown
    assert not Host.objects.filter(name="press-9").exists()
    refused = browser.post(
        "/pool/new/",
        {**WORDS, "verb": "register", "housekeeping_cpus": "0", "realtime_cpus": "999"},
    )
    assert refused.status_code == 422
    assert "the host has no CPU 999" in refused.content.decode()
    # What it said is still there to go on with.
    assert "2. What it says" in refused.content.decode()
    answer = browser.post(
        "/pool/new/",
        {
            **WORDS,
            "verb": "register",
            "housekeeping_cpus": "0",
            "shared_cpus": "0",
            "address": "10.9.0.9",
        },
    )
    assert answer["Location"] == "/pool/press-9/"
    host = Host.objects.get(name="press-9")
    assert (host.uri, host.address) == (WORDS["uri"], "10.9.0.9")
    assert host.policy["housekeeping_cpus"] == "0"
    assert AuditEntry.objects.get(action="host.register", object_name="press-9").actor == (
        plant.operator
    )
    assert len(asked) == 3
    # Registered and never seen, with roles for CPUs that nobody has counted yet: its page and the pool's show it.
    Host.objects.filter(pk=host.pk).update(policy={**host.policy, "realtime_cpus": "5,6,7"})
    for path in ("/pool/press-9/", "/pool/"):
        assert "press-9" in browser.get(path).content.decode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Press 9"}, "small letters, digits and hyphens"),
        ({"name": "new"}, "small letters, digits and hyphens"),
        ({"uri": "qemu+ssh://press-9/system"}, "expected qemu+tls://host/system"),
        ({"name": "mw0-h1"}, "a host is named"),
        ({"uri": "qemu+tls://dead/system"}, "qemu+tls://dead/system: "),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_registered(
    page: tuple[Client, Any], changes: dict[str, str], words: str
) -> None:
    browser, _ = page
    before = Host.objects.count()
    for verb in ("check", "register"):
        answer = browser.post("/pool/new/", {**WORDS, **changes, "verb": verb})
        assert answer.status_code == 422
        assert words in answer.content.decode()
    assert Host.objects.count() == before


def test_the_api_says_the_same(plant: Plant, page: tuple[Client, Any]) -> None:
    _, secret = issue_token(None, plant.operator, "cli", lifetime=dt.timedelta(hours=1))
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    told = api.post("/api/v1/hosts/check/", WORDS, format="json")
    assert told.status_code == 200, told.data
    assert told.data["policy"]["housekeeping_cpus"] == str(told.data["cpus"][0])
    assert {row["ok"] for row in told.data["findings"]} <= {True, False}
    dead = {**WORDS, "uri": "qemu+tls://dead/system"}
    assert api.post("/api/v1/hosts/check/", dead, format="json").status_code == 409


def test_roles_to_begin_with() -> None:
    assert suggestion([0])["shared_cpus"] == "0"
    assert suggestion([0, 1])["realtime_cpus"] == ""
    many = suggestion(list(range(8)))
    assert (many["housekeeping_cpus"], many["shared_cpus"], many["realtime_cpus"]) == (
        "0",
        "1,2,3,4",
        "5,6,7",
    )


def test_a_host_that_lost_a_cpu_does_not_end_the_pools_pages(
    plant: Plant, page: tuple[Client, Any]
) -> None:
    browser, _ = page
    host = plant.hosts[0]
    host.topology = {"cpus": [{"id": 0}]}
    host.policy = {**host.policy, "housekeeping_cpus": "0", "realtime_cpus": "1", "shared_cpus": ""}
    host.save()
    topology = topology_of(host)
    assert [cpu.id for cpu in topology.cpus] == [0]
    assert topology.realtime == frozenset()
    for path in ("/pool/", f"/pool/{host.name}/", "/capacity/"):
        assert browser.get(path).status_code == 200, path


def test_a_number_that_is_none_is_refused_and_no_error_of_the_server(
    page: tuple[Client, Any],
) -> None:
    browser, _ = page
    # A superscript is a digit to Unicode and no number.
    answer = browser.post("/balancing/", {"verb": "approve", "pk": "\u00b2"})
    assert answer.status_code == 404


def test_hosts_of_a_kind_share_a_topology_and_others_do_not(plant: Plant) -> None:
    cpus = [{"id": cpu} for cpu in range(4)]
    first, second, third, fourth = (
        Host(name=name, topology={"cpus": found}, policy=policy)
        for name, found, policy in (
            ("a", cpus, {"shared_cpus": "2-3", "best_effort": True}),
            ("b", list(cpus), {"shared_cpus": "2-3"}),
            ("c", cpus, {"shared_cpus": "2-3", "realtime_cpus": "1"}),
            ("d", cpus[:3], {"shared_cpus": "2-3"}),
        )
    )
    kinds = Kinds()
    found = [kinds.of(host) for host in (first, second, third, fourth)]
    assert found == [topology_of(host) for host in (first, second, third, fourth)]
    assert found[0] is found[1]
    assert found[2].realtime == {1}
    assert found[3].shared == {2}
    # Pools in which every host is another are read as well.
    for number in range(2, MOST_KINDS + 20):
        host = Host(name=f"x{number}", topology={"cpus": cpus * number}, policy={})
        assert kinds.of(host) == topology_of(host)
