"""A lab of three hosts under generated load: it balances itself, drains, and says why it does not.

Everything is real: libvirtd and QEMU on three hosts, guests that burn CPU by a script of theirs, what the
hosts measure of it, and the orchestrator, whose balancing goes by ten times faster than a plant's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from millwright.balancing import draining
from millwright.balancing.models import HostDrain, Recommendation
from millwright.balancing.recommending import balancer, set_mode
from millwright.catalog.actions import sync_template
from millwright.catalog.models import TemplateVersion
from millwright.core.lifecycle import HostAdministration
from millwright.environments.models import Machine, Operation
from millwright.environments.moving import set_movability
from millwright.inventory.actions import administer_host
from millwright.inventory.models import Host

from tests.support.lab import CACHE, RunningLab, lab_of_its_own
from tests.support.orchestrator import OrchestratorProcess
from tests.support.site import Site, lay_out
from vmtemplates import build_image, load_templates

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.django_db(transaction=True)]

#: A controller: the tiny guest without load, on a core of its own where the host has one.
CONTROLLER = {
    "name": "tiny-controller",
    "class": "realtime",
    "sizes": [
        {
            "name": "tiny",
            "vcpus": [{"role": "housekeeping"}, {"role": "control"}],
            "memory_bytes": 192 * 2**20,
            "disk_bytes": 0,
        }
    ],
    "outputs": {"http": 7},
}
#: Percent of a CPU as the guest counts; emulated, one is nearly all of a CPU, and three are far more.
BURN = 25
#: How much faster than in a plant rounds and samples go by.
PACE = 10.0
LIMIT_S = 900.0


@pytest.fixture
def lab() -> Iterator[RunningLab]:
    with lab_of_its_own() as own:
        own.up(3)
        yield RunningLab(own)


class _Site(Site):
    """With a template for controllers beside the one that burns."""

    controller: TemplateVersion


@pytest.fixture
def site(transactional_db: None, lab: RunningLab) -> _Site:
    made = lay_out(lab, cmdline=f"mw.burn={BURN}")
    image = build_image(load_templates()["tiny"], CACHE / "images").as_dict()
    made = _Site(made.plant, made.lab)
    made.plant.project.quota_environments = 4
    made.plant.project.save(update_fields=("quota_environments",))
    made.controller = sync_template(
        None, {**load_templates()["tiny"].as_spec(), **CONTROLLER}, image=image
    )
    return made


@pytest.fixture
def orchestrator(site: _Site, tmp_path: Path) -> Iterator[OrchestratorProcess]:
    home = tmp_path / "home"
    home.mkdir()
    with closing(OrchestratorProcess(home, pace=PACE)) as process:
        site.until(lambda: process.active, "active")
        site.hosts_up("hosts are up")
        yield process


def _idle() -> bool:
    return not Operation.objects.live().exists()


def _stand(site: _Site) -> dict[str, str]:
    """Machine → host, once the database and every host say the same."""

    def agreed() -> dict[str, str]:
        rows = Machine.objects.select_related("host", "environment")
        here = {row.domain_name: row.host.name for row in rows}
        there = [
            (name, host.name)
            for host in site.lab.plan.hosts
            for name in site.virsh(host.name, "list", "--all", "--name").split()
            if not name.startswith("mw-probe-")
        ]
        return here if sorted(there) == sorted(here.items()) else {}

    found: dict[str, str] = site.until(agreed, "hosts have what the database says", LIMIT_S)
    return found


def _crowd(site: _Site, crowded: Host) -> Machine:
    """Three machines that burn and a controller, all on one host; returns the controller."""
    operator = site.plant.operator
    others = Host.objects.exclude(pk=crowded.pk)
    for host in others:
        administer_host(operator, host, HostAdministration.CORDONED, "so that one is crowded")
    for number in range(3):
        site.build(f"burner-{number}")
    site.plant.template = site.controller
    controller = site.build("controller")
    for host in others:
        administer_host(operator, host, HostAdministration.SCHEDULABLE, "")
    assert set(_stand(site).values()) == {crowded.name}
    return controller


def test_a_crowded_host_is_relieved_then_drained_and_refuses_what_cannot_be(
    site: _Site, orchestrator: OrchestratorProcess
) -> None:
    operator = site.plant.operator
    # The last host has no core for a controller of its own, as the second: it may leave for that one.
    *others, first = Host.objects.order_by("name")
    controller = _crowd(site, first)
    _relieved(site, orchestrator, first)
    _refused(site, controller, first, others)
    moved = draining.start(operator, first, approve=True, reason="a new fan")
    site.until(
        lambda: HostDrain.objects.get(pk=moved.pk).state != "active",
        f"drained; {list(HostDrain.objects.values())}; {orchestrator.log()}",
        LIMIT_S,
    )
    first.refresh_from_db()
    assert first.administration == HostAdministration.MAINTENANCE
    where = _stand(site)
    print("after the drain:", where)
    assert first.name not in where.values()
    assert controller.domain_name in where
    assert set(Machine.objects.values_list("observed", flat=True)) == {"running"}
    set_mode(operator, "off")
    site.until(_idle, "idle")
    site.remove()


def _relieved(site: _Site, orchestrator: OrchestratorProcess, first: Host) -> None:
    """In mode *automatic* rounds move machines off the crowded host, until none of them has a reason to."""
    before = _stand(site)
    set_mode(site.plant.operator, "automatic", 4, "the lab balances itself")
    site.until(
        lambda: (
            Recommendation.objects.filter(state="moving").exists()
            or Recommendation.objects.filter(state="moved").exists()
        ),
        f"a round moved something; {orchestrator.log()}",
        LIMIT_S,
    )
    crowded = Recommendation.objects.order_by("pk").first()
    assert crowded is not None

    def quiet() -> bool:
        """All moves are measured, and rounds after the last of them want no more."""
        state = balancer().state
        return bool(
            not Recommendation.objects.filter(state__in=("open", "moving")).exists()
            and _idle()
            and state["number"] >= max(state["moved"].values(), default=0) + 4
        )

    site.until(quiet, f"content; {list(Recommendation.objects.values())}", LIMIT_S)
    rows = list(Recommendation.objects.order_by("pk").select_related("source", "destination"))
    for row in rows:
        print(row, row.state, row.text, "expected", row.effect, "actual", row.actual)
    after = _stand(site)
    print("before", before, "after", after, "figures", balancer().figures)
    moves = [row for row in rows if row.state == "moved"]
    assert moves
    assert moves[0].source == first
    assert all(row.text and row.effect["net"] > 0 for row in moves)
    # What came of each was measured on both hosts, and the crowded one has less than before.
    assert all(row.actual["elapsed_s"] > 0 for row in moves)
    highest = balancer().figures["after"]["highest"]
    assert max(highest, moves[-1].actual["source"]) < moves[0].effect["source_before"] / 2
    burners = Counter(host for name, host in after.items() if "burner" in name)
    assert len(burners) > 1, burners
    # It did not move the controller by itself.
    assert [host for name, host in after.items() if "controller" in name] == [first.name]


def _refused(site: _Site, controller: Machine, first: Host, others: list[Host]) -> None:
    """Drains that cannot be are refused with their reason, and nothing begins."""
    operator = site.plant.operator
    with pytest.raises(ValidationError, match="only when a person approves it") as unsaid:
        draining.start(operator, first)
    print("refused:", unsaid.value.messages)
    set_movability(operator, controller, "never", "bolted to its line")
    with pytest.raises(ValidationError, match="controller") as never:
        draining.start(operator, first, approve=True)
    print("refused:", never.value.messages)
    set_movability(operator, controller, "approval", "")
    for host in others:
        administer_host(operator, host, HostAdministration.CORDONED, "no room elsewhere")
    with pytest.raises(ValidationError) as full:
        draining.start(operator, first, approve=True)
    print("refused:", full.value.messages)
    assert any("controller" in text for text in full.value.messages)
    for host in others:
        administer_host(operator, host, HostAdministration.SCHEDULABLE, "")
    first.refresh_from_db()
    assert first.administration == HostAdministration.SCHEDULABLE
    assert not HostDrain.objects.exists()
